//! Presets and their variants, with narrow networks: the settings resolve for every size, the
//! training step matches its references kernel by kernel, and training resumes bit for bit. The
//! checkpoints can be opened.

use super::runs::{REST, WHOLE, checkpoint, first, same_files, train};
use crate::common::context;
use crate::common::small::small;
use degrain::checkpoint::Checkpoint;
use degrain::diffusion::{
    BatchSpec, BetaSchedule, ClassifierGuide, Generator, Guidance, Prediction, ProcessConfig, SamplerName,
    SamplingOptions,
};
use degrain::gpu::Context;
use degrain::nn::{DownsampleType, Likelihood, Model};
use degrain::train::{Config, Inspection, Settings, Size, Storage, Trainer, presets};
use std::path::Path;
use tempfile::TempDir;

fn run_settings(preset: &str, out: &Path) -> Settings {
    Settings {
        out: Some(out.into()),
        steps: Some(6),
        validation_count: Some(6),
        validate_every: Some(3),
        sample_every: Some(6),
        checkpoint_every: Some(3),
        keep_checkpoints: Some(9),
        ..small(preset)
    }
}

#[test]
fn presets_resolve_for_every_size() {
    for &preset in presets::NAMES {
        for (size, name) in [(Size::Tiny, "tiny"), (Size::Small, "small"), (Size::Base, "base")] {
            let asked = Settings { preset: Some(preset.into()), size: Some(size), ..Settings::default() };
            let config = asked.resolve(Size::Tiny).unwrap_or_else(|e| panic!("{preset} {name}: {e}"));
            assert_eq!(config.out, Path::new(&format!("runs/{preset}-{name}")));
        }
    }
    let unknown = Settings { preset: Some("gan".into()), ..Settings::default() };
    let message = unknown.resolve(Size::Tiny).unwrap_err().to_string();
    assert!(presets::NAMES.iter().all(|preset| message.contains(preset)), "{message}");
}

/// Some settings of `ddpm` and `guided` at size tiny are not those of the other presets with the
/// U-Net of diffusers.
#[test]
fn presets_with_the_unet_share_its_settings() {
    for preset in ["ddpm", "hybrid", "vdm", "edm", "flow", "score", "guided"] {
        let config = Settings { preset: Some(preset.into()), ..Settings::default() }.resolve(Size::Tiny).unwrap();
        let small = Settings { preset: Some(preset.into()), ..Settings::default() }.resolve(Size::Small).unwrap();
        assert_eq!((small.batch, small.eta), (64, 0.0), "{preset}");
        let own = ["ddpm", "guided"].contains(&preset);
        let expected = if own { (16, [false; 3], 1.0) } else { (32, [false, false, true], 0.0) };
        assert_eq!(
            (config.batch, &config.attention[..], config.eta),
            (expected.0, &expected.1[..], expected.2),
            "{preset}"
        );
    }
}

/// `guided` at size tiny is `ddpm` with a linear schedule.
#[test]
fn guided_is_ddpm_with_a_linear_schedule() {
    let [guided, ddpm] = ["guided", "ddpm"]
        .map(|preset| Settings { preset: Some(preset.into()), ..Settings::default() }.resolve(Size::Tiny).unwrap());
    assert_eq!((&guided.schedule, &ddpm.schedule), (&BetaSchedule::default(), &BetaSchedule::Cosine));
    assert_eq!(guided.prediction, Prediction::VPrediction);
    let same = Config { preset: ddpm.preset.clone(), out: ddpm.out.clone(), schedule: BetaSchedule::Cosine, ..guided };
    assert_eq!(same, ddpm);
}

/// Trains a preset with these changes, and compares the whole run with one that was resumed.
fn check(preset: &str, changes: &Settings) {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [whole, paused] = ["whole", "paused"].map(|name| folder.path().join(name));
    let settings = |out: &Path| changes.clone().or(run_settings(preset, out));
    let mut trainer = Trainer::new(&ctx, settings(&whole)).unwrap_or_else(|e| panic!("{preset}: {e}"));
    let verify = Inspection { verify: true, ..Inspection::default() };
    trainer.inspect(verify).unwrap_or_else(|e| panic!("{preset}: {e}"));

    train(&ctx, settings(&whole), WHOLE);
    train(&ctx, settings(&paused), first(3));
    train(&ctx, settings(&paused), REST);
    same_files(&checkpoint(&whole, 6), &checkpoint(&paused, 6));
    let trained = Checkpoint::open(&whole.join("checkpoint-6")).unwrap_or_else(|e| panic!("{preset}: {e}"));
    assert_eq!(trained.warnings, [""; 0]);
    assert_eq!(trained.model.model().config_json(), trainer.objective().model().config_json());
    let has_samples = whole.join("samples/ema-000006.png").exists();
    assert_eq!(has_samples, trainer.objective().generative().is_some(), "{preset}: a grid of samples");
    assert!(!has_samples || preset == "vae" || whole.join("reverse.png").exists());
}

#[test]
fn presets_train_and_resume_bit_for_bit() {
    for preset in presets::NAMES {
        println!("{preset}");
        check(preset, &Settings::default());
    }
}

macro_rules! variants {
    ($($name:ident: $preset:literal { $($field:ident: $value:expr),* })*) => {
        $(
            #[test]
            fn $name() {
                check($preset, &Settings { $($field: Some($value),)* ..Settings::default() });
            }
        )*
    };
}

variants! {
    residual_attention_average: "residual-attention" { downsample: DownsampleType::Average }
    score_sub_vp: "score" { process: "sub_vp".parse().unwrap() }
    score_ve: "score" { process: "ve".parse().unwrap(), sampler: SamplerName::PredictorCorrector }
    vae_bernoulli: "vae" { likelihood: Likelihood::Bernoulli }
    classifier_of_clean_images: "classifier" { noise_aware: false }
}

/// Images from a stream equal the images that the device would select, across chunks and epochs.
#[test]
fn streaming_gives_the_same_images_as_storage_on_the_device() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let run = |name: &str, storage, stop| {
        let out = folder.path().join(name);
        let settings = |out: &Path| Settings {
            storage: Some(storage),
            steps: Some(40),
            batch: Some(9),
            checkpoint_every: Some(20),
            sample_every: Some(1000),
            random_flip: Some(degrain::train::RandomFlip::Always),
            ..run_settings("ddpm", out)
        };
        if let Some(stop) = stop {
            train(&ctx, settings(&out), first(stop));
        }
        train(&ctx, settings(&out), if stop.is_some() { REST } else { WHOLE });
        checkpoint(&out, 40)
    };
    let (device, streamed) = (run("device", Storage::Device, None), run("streamed", Storage::Stream, None));
    assert!(device == streamed, "streaming changes the images");
    assert!(device == run("resumed", Storage::Stream, Some(20)), "a resumed stream gives other images");
}

/// The mean log-probability of the class rises with the scale of the guidance.
#[test]
fn classifier_guidance_raises_the_probability_of_the_class() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [model, judge] = ["model", "judge"].map(|name| folder.path().join(name));
    train(&ctx, Settings { unconditional: Some(true), ..run_settings("guided", &model) }, first(3));
    let longer = Settings { steps: Some(60), lr: Some(5e-3), ..run_settings("classifier", &judge) };
    train(&ctx, longer, WHOLE);
    let model = Checkpoint::open(&model).unwrap();
    let judge = Checkpoint::open(&judge).unwrap();
    let network = judge.classifier().unwrap();
    let mut ctx = ctx.fork();
    model.load(&mut ctx, "weights").unwrap();
    judge.load(&mut ctx, "judge").unwrap();
    let denoiser = model.denoiser("weights").unwrap();
    let options = SamplingOptions {
        sampler: Some(SamplerName::Ddim),
        steps: Some(10),
        guidance: Some(1.0),
        ..SamplingOptions::default()
    };
    let (plan, _) = model.sampling(options).unwrap().plan(denoiser.process).unwrap();
    let labels = [0, 1, 2, 3, 4, 5, 6, 7];
    let mut draw = |scale: Option<f64>, name: &str| {
        let classifier = scale.map(|scale| ClassifierGuide { network, weights: "judge", scale });
        let guidance = Guidance { classifier, ..Guidance::default() };
        let batch = BatchSpec { name, size: 8, image: [1, 28, 28], seed: 1 };
        let generator = Generator::new(&mut ctx, denoiser, guidance, plan.clone(), batch).unwrap();
        generator.sample(&ctx, &labels, 0, &mut |_| Ok(())).unwrap()
    };
    let (none, zero) = (draw(None, "none"), draw(Some(0.0), "zero"));
    assert_eq!(none, zero, "a scale of zero changes the samples");
    let (weak, strong) = (draw(Some(3.0), "weak"), draw(Some(30.0), "strong"));
    let score = |images: &[f32]| log_probability(&ctx, network, &judge.weights, images, &labels);
    let scores = [&none, &weak, &strong].map(|images| score(images));
    println!("mean log-probability of the class: {scores:?}");
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
}

/// Mean log-probability of the labels by a classifier at timestep 0.
fn log_probability(
    ctx: &Context,
    network: &degrain::nn::Classifier,
    weights: &[f32],
    images: &[f32],
    labels: &[u32],
) -> f64 {
    use degrain::nn::{Conditions, Network};
    use degrain::ops::cross_entropy;
    use degrain::tape::{Program, Shape, Step, Tape};
    let count = labels.len() as u32;
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let x = t.named("x", Shape::f32([count, 1, 28, 28]));
    let time = t.named("time", Shape::f32([count, network.time_width()]));
    let label = t.named("labels", Shape::u32([count]));
    let w = network.parameters().fixed(t, "w");
    let logits = network.forward(t, &w, x, Conditions { time: Some(time), labels: None });
    let loss = cross_entropy(t, logits, label);
    t.keep(loss, "loss");
    let mut ctx = ctx.fork();
    let program = Program::compile(&mut ctx, &tape).unwrap();
    network.parameters().write(&mut ctx, "w", weights).unwrap();
    ctx.write("x", 0, images).unwrap();
    ctx.write("time", 0, &network.time_table(&vec![0.0; labels.len()])).unwrap();
    ctx.write("labels", 0, labels).unwrap();
    program.run(&ctx, &Step::default()).unwrap();
    let losses: Vec<f32> = ctx.read("loss", 0, labels.len()).unwrap();
    -losses.iter().map(|&x| f64::from(x)).sum::<f64>() / labels.len() as f64
}

#[test]
fn edm_takes_sigma_data_from_the_data_set() {
    let ctx = context();
    let folder = TempDir::new().unwrap();
    let trainer = Trainer::new(&ctx, run_settings("edm", folder.path())).unwrap();
    let ProcessConfig::Edm(edm) = trainer.config().process else { panic!("{}", trainer.config().process) };
    // The root mean square, not the standard deviation: the mean is not zero.
    let statistics = trainer.dataset().statistics;
    assert!(statistics.mean.abs() > 0.5, "{}", statistics.mean);
    assert_eq!(edm.sigma_data, Some(statistics.mean.hypot(statistics.std)));
}
