//! Checkpoints that diffusers samples: against its samples, and against what `train` writes today.

use crate::common::context;
use crate::common::golden::{Golden, compare, nudge, path};
use crate::common::run::{digits, files};
use crate::runs::{WHOLE, train};
use degrain::checkpoint::{Checkpoint, CheckpointMetadata, SchedulerConfig, write};
use degrain::diffusion::processes::{Edm, Flow};
use degrain::diffusion::{
    BatchSpec, Generator, Guidance, SamplerName, Sampling, SamplingOptions, StageNoise, Variance,
};
use degrain::gpu::Context;
use degrain::train::Settings;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Number of steps of the goldens.
const STEPS: u32 = 4;

/// The states after each step of this seed-0 sampling, with these weights.
fn states(
    ctx: &Context,
    checkpoint: &Checkpoint,
    weights: &[f32],
    sampling: &Sampling,
    labels: &[u32],
) -> Vec<Vec<f32>> {
    let mut ctx = ctx.fork();
    let denoiser = checkpoint.denoiser("weights").unwrap();
    // diffusers starts from N(0, 1), whatever the data.
    let (plan, _) = Sampling { data: None, ..*sampling }.plan(denoiser.process).unwrap();
    checkpoint.model.model().parameters().write(&mut ctx, "weights", weights).unwrap();
    let image = checkpoint.image_shape(None).unwrap();
    let guidance = Guidance { scale: sampling.guidance, ..Guidance::default() };
    let batch = BatchSpec { name: "sample", size: labels.len() as u32, image, seed: 0 };
    let generator = Generator::new(&mut ctx, denoiser, guidance, plan, batch).unwrap();
    generator.begin(&ctx, labels, 0).unwrap();
    let stage = |index| {
        generator.stage(&ctx, index, StageNoise::default()).unwrap();
        generator.images(&ctx).unwrap()
    };
    (0..STEPS).map(stage).collect()
}

/// Compares a checkpoint's samples with those of diffusers. `is_bounded`: whether diffusers' class
/// clips the predicted image. `wrong` changes a setting that must be noticed.
fn check(name: &str, sampler: SamplerName, guidance: f32, is_bounded: bool, wrong: fn(&mut Checkpoint, &mut Sampling)) {
    let ctx = context();
    let checkpoint = Checkpoint::open(&path(&format!("exports/{name}"))).unwrap();
    let golden = Golden::open(&format!("exports/{name}/golden.safetensors"));
    let labels = if golden.has("class_labels") { golden.words("class_labels").1 } else { vec![0, 0] };
    let asked = SamplingOptions {
        sampler: Some(sampler),
        steps: Some(STEPS),
        guidance: Some(guidance),
        clip: (!is_bounded).then_some(f32::INFINITY),
        ..SamplingOptions::default()
    };
    let sampling = checkpoint.sampling(asked).unwrap();
    let found = states(&ctx, &checkpoint, &checkpoint.weights, &sampling, &labels);
    let moved = states(&ctx, &checkpoint, &nudge(&checkpoint.weights), &sampling, &labels);
    for (step, (found, moved)) in found.iter().zip(&moved).enumerate() {
        if !golden.has(&format!("state{step}")) {
            continue;
        }
        compare(&format!("{name}, step {step}"), found, moved, &golden.floats(&format!("state{step}")));
    }
    let last = STEPS as usize - 1;
    let (mut other, mut settings) = (Checkpoint::open(&checkpoint.folder).unwrap(), sampling);
    wrong(&mut other, &mut settings);
    let wrong = states(&ctx, &other, &checkpoint.weights, &settings, &labels);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    let allowed = 16.0 * distance(&found[last], &moved[last]);
    let difference = distance(&wrong[last], &golden.floats(&format!("state{last}")));
    assert!(difference > 2.0 * allowed, "{name}: a wrong setting is not noticed, {difference} of {allowed}");
}

#[test]
fn export_of_ddpm_is_sampled_by_diffusers() {
    check("ddpm", SamplerName::Ddim, 2.0, true, |_, sampling| sampling.options.use_clipped_model_output = Some(false));
}

#[test]
fn export_of_guided_is_sampled_by_diffusers() {
    check("guided", SamplerName::Ddim, 3.0, true, |_, sampling| sampling.guidance += 0.01);
}

#[test]
fn export_of_hybrid_is_sampled_by_diffusers() {
    check("hybrid", SamplerName::Ddpm, 1.0, true, |_, sampling| {
        sampling.options.variance_type = Some(Variance::FixedSmall);
    });
}

#[test]
fn export_of_flow_is_sampled_by_diffusers() {
    check("flow", SamplerName::Euler, 1.0, false, |checkpoint, _| {
        checkpoint.process = Some(Box::new(Flow { time_factor: 1000.0 }));
    });
}

#[test]
fn export_of_edm_is_sampled_by_diffusers() {
    check("edm", SamplerName::Euler, 2.0, false, |checkpoint, _| {
        checkpoint.process = Some(Box::new(Edm { sigma_data: Some(0.6), ..Edm::default() }));
    });
}

/// The golden checkpoints are what `train` writes today: every file with the golden's weights, and
/// its metadata except for those of the run.
#[test]
fn export_goldens_are_what_training_writes() {
    for name in ["ddpm", "guided", "hybrid", "flow", "edm"] {
        let folder = TempDir::new().unwrap();
        let golden = path(&format!("exports/{name}"));
        let text = fs::read_to_string(path(&format!("exports/{name}.toml"))).unwrap();
        let settings: Settings = toml::from_str(&text).unwrap();
        let out = folder.path().join("run");
        let asked = Settings { out: Some(out.clone()), data: Some(digits().into()), steps: Some(1), ..settings };
        train(&context(), asked, WHOLE);
        let written = out.join("checkpoint-1");
        let checkpoint = Checkpoint::open(&written).unwrap();

        let (theirs, ours) = (metadata(&golden), metadata(&written));
        let same = CheckpointMetadata { run: theirs.run.clone(), step: theirs.step, seconds: theirs.seconds, ..ours };
        assert_eq!(same, theirs, "{name}: degrain.json");
        let model = checkpoint.model.model();
        let weights = Checkpoint::open(&golden).unwrap().weights;
        let again = folder.path().join("again");
        fs::create_dir(&again).unwrap();
        write(&again, model, &weights, scheduler(&checkpoint).as_ref(), &theirs).unwrap();
        let mut expected = files(&golden);
        expected.retain(|(name, _)| name != "golden.safetensors");
        let found = files(&again);
        let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{name}");
        for ((file, found), (_, golden_file)) in found.iter().zip(&expected) {
            assert!(found == golden_file, "{name}: {file} has changed: {}", String::from_utf8_lossy(found));
        }
        for file in ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"] {
            let read = |folder: &Path| fs::read(folder.join(file)).ok();
            assert!(read(&written) == read(&golden), "{name}: training writes another {file}");
        }
    }
}

fn metadata(folder: &Path) -> CheckpointMetadata {
    CheckpointMetadata::read(folder).unwrap().expect("a checkpoint of degrain")
}

/// The scheduler as training passes it: with the run's sampler, which degrain.json names.
fn scheduler(checkpoint: &Checkpoint) -> Option<SchedulerConfig> {
    let sampler = checkpoint.metadata.sampling.sampler.unwrap_or_default();
    checkpoint.scheduler.clone().map(|scheduler| SchedulerConfig { sampler, ..scheduler })
}
