//! Whole sampling trajectories with a model that diffusers wrote: against diffusers in float64, and
//! against the same images in another batch.

use crate::common::context;
use crate::common::golden::{Golden, compare, excess, nudge, path};
use degrain::checkpoint::{Checkpoint, SchedulerConfig};
use degrain::diffusion::{
    BatchSpec, Denoiser, DenoiserSpec, Generator, Guidance, GuidanceInterval, Labels, SamplerName, SamplerOptions,
    SamplingPlan, StageNoise,
};
use degrain::gpu::Context;
use serde_json::Value;

/// The labels of the golden model: 11 classes, the last of which is the null class.
const LABELS: Labels = Labels { classes: 10, dropout: 0.1 };

/// The golden model, which has a null class.
fn denoiser(checkpoint: &Checkpoint) -> Denoiser<'_> {
    let spec = DenoiserSpec { labels: Some(LABELS), ..DenoiserSpec::default() };
    Denoiser { spec, ..checkpoint.denoiser("weights").unwrap() }
}

fn guided(scale: f32) -> Guidance<'static> {
    Guidance { scale, ..Guidance::default() }
}

fn batch(name: &str, size: u32, seed: u64) -> BatchSpec<'_> {
    BatchSpec { name, size, image: [1, 28, 28], seed }
}

struct Samples {
    /// The images after each step.
    states: Vec<Vec<f32>>,
}

/// Samples the golden's three images from its noise with these weights.
fn trajectory(ctx: &Context, weights: &[f32], scheduler: &SchedulerConfig, spec: u32, guidance: f32) -> Samples {
    let golden = Golden::open("trajectories.safetensors");
    let checkpoint = Checkpoint::open(&path("unet_class")).unwrap();
    let (mut plan, _) = scheduler.plan(spec).unwrap();
    // The golden has the noise of DDPM's steps, so it is added here and not by the device.
    let SamplingPlan::Stages(stages) = &mut plan else { panic!("a plan without stages") };
    let sigmas: Vec<f32> = stages.table.iter_mut().map(|row| std::mem::take(&mut row[7])).collect();
    let given = if scheduler.sampler == SamplerName::Ddpm { golden.floats("ddpm5_noise") } else { vec![] };
    let mut ctx = ctx.fork();
    checkpoint.model.model().parameters().write(&mut ctx, "weights", weights).unwrap();
    let generator =
        Generator::new(&mut ctx, denoiser(&checkpoint), guided(guidance), plan, batch("sample", 3, 0)).unwrap();
    let labels = golden.words("class_labels").1;
    let mut x = golden.floats("noise");
    let mut states = Vec::new();
    for (index, sigma) in sigmas.into_iter().enumerate() {
        generator.begin_from(&ctx, &x, &labels).unwrap();
        generator.stage(&ctx, index as u32, StageNoise::default()).unwrap();
        x = generator.images(&ctx).unwrap();
        if sigma > 0.0 {
            let z = &given[index * x.len()..][..x.len()];
            x.iter_mut().zip(z).for_each(|(x, z)| *x = (f64::from(*x) + f64::from(sigma) * f64::from(*z)) as f32);
        }
        states.push(x.clone());
    }
    Samples { states }
}

/// Name, sampler, steps and guidance of a golden trajectory.
fn check(name: &str, sampler: SamplerName, spec: u32, guidance: f32) {
    let ctx = context();
    let golden = Golden::open("trajectories.safetensors");
    let known: Value = serde_json::from_str(&std::fs::read_to_string(path("trajectories.json")).unwrap()).unwrap();
    assert_eq!(known[name]["num_inference_steps"], spec);
    assert_eq!(known[name]["guidance"], guidance);
    assert_eq!(known[name]["null_class"], LABELS.classes);
    let scheduler = SchedulerConfig { sampler, ..SchedulerConfig::default() };
    let visited: Vec<u64> = scheduler.plan(spec).unwrap().0.fixed().unwrap().times.iter().map(|&t| t as u64).collect();
    assert_eq!(serde_json::json!(visited), known[name]["timesteps"]);

    let weights = Checkpoint::open(&path("unet_class")).unwrap().weights;
    let expected = golden.floats(&format!("{name}.states"));
    let got = trajectory(&ctx, &weights, &scheduler, spec, guidance).states;
    let moved = trajectory(&ctx, &nudge(&weights), &scheduler, spec, guidance).states;
    let mut worst = 0.0f64;
    for (k, expected) in expected.chunks(got[0].len()).enumerate() {
        worst = worst.max(compare(&format!("{name} after step {k}"), &got[k], &moved[k], expected));
    }
    println!("{name}: at worst {worst:.2} of what is allowed");

    // The comparison detects small changes of the guidance scale and of clipping.
    let last = &expected[(spec as usize - 1) * got[0].len()..];
    let (got, moved) = (got.last().unwrap(), moved.last().unwrap());
    let other = match sampler {
        SamplerName::Ddim => {
            let options = SamplerOptions { use_clipped_model_output: Some(true), ..SamplerOptions::default() };
            SchedulerConfig { options, ..scheduler.clone() }
        }
        _ => SchedulerConfig { clip: None, ..scheduler.clone() },
    };
    assert!(excess(got, moved, last) <= 1.0);
    let changed = [(&other, guidance), (&scheduler, guidance + 0.001)];
    for (scheduler, guidance) in changed {
        let wrong = trajectory(&ctx, &weights, scheduler, spec, guidance).states;
        let distance = |a: &[f32]| a.iter().zip(got).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        let allowed = 16.0 * distance(moved);
        assert!(distance(wrong.last().unwrap()) > allowed, "{name}: a wrong setting is not noticed");
    }
}

#[test]
fn ddim10() {
    check("ddim10", SamplerName::Ddim, 10, 1.0);
}

#[test]
fn ddim10_guidance2() {
    check("ddim10_guidance2", SamplerName::Ddim, 10, 2.0);
}

#[test]
fn ddpm5() {
    check("ddpm5", SamplerName::Ddpm, 5, 1.0);
}

/// A step is guided if its noise level is in the interval. Outside, it is a step with scale 1, up to
/// the rounding of u + (c - u).
#[test]
fn guidance_interval_guides_the_steps_at_its_levels() {
    const STEPS: u32 = 6;
    let ctx = context();
    let golden = Golden::open("trajectories.safetensors");
    let checkpoint = Checkpoint::open(&path("unet_class")).unwrap();
    let (plan, _) = checkpoint.scheduler.as_ref().unwrap().plan(STEPS).unwrap();
    let mut ctx = ctx.fork();
    checkpoint.load(&mut ctx, "weights").unwrap();
    let process = checkpoint.denoiser("weights").unwrap().process;
    let levels: Vec<f64> = plan.stages().iter().map(|stage| process.marginal(stage.time).sigma_ratio()).collect();
    // The second to the fourth step. The levels fall.
    let interval = GuidanceInterval([0.999 * levels[3] as f32, 1.001 * levels[1] as f32]);
    let (labels, x) = (golden.words("class_labels").1, golden.floats("noise"));
    let mut steps = |name: &str, guidance: Guidance<'static>| {
        let generator =
            Generator::new(&mut ctx, denoiser(&checkpoint), guidance, plan.clone(), batch(name, 3, 0)).unwrap();
        let step = |index| {
            generator.begin_from(&ctx, &x, &labels).unwrap();
            generator.stage(&ctx, index, StageNoise::default()).unwrap();
            generator.images(&ctx).unwrap()
        };
        (0..STEPS).map(step).collect::<Vec<_>>()
    };
    let within = steps("within", Guidance { interval: Some(interval), ..guided(3.0) });
    let (always, never) = (steps("always", guided(3.0)), steps("never", guided(1.0)));
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    for (k, within) in within.iter().enumerate() {
        let effect = distance(&always[k], &never[k]);
        assert!(effect > 0.0, "step {k}: guidance has no effect");
        if (1..=3).contains(&k) {
            assert!(*within == always[k], "step {k} is not guided");
        } else {
            let found = distance(within, &never[k]);
            assert!(found < 1e-3 * effect, "step {k} is guided: {found} of {effect}");
        }
    }
}

/// Image k of a seed, with noise at the start and in each step, guided.
#[test]
fn sample_does_not_depend_on_its_batch() {
    const COUNT: u32 = 64;
    let ctx = context();
    let checkpoint = Checkpoint::open(&path("unet_class")).unwrap();
    let (plan, _) = checkpoint.scheduler.as_ref().unwrap().plan(3).unwrap();
    let mut ctx = ctx.fork();
    checkpoint.load(&mut ctx, "weights").unwrap();
    let labels: Vec<u32> = (0..COUNT).map(|k| k * 7 % 10).collect();
    let seed = 5 + (1 << 40);
    let mut generator = |size: u32, seed: u64, name: &str| {
        Generator::new(&mut ctx, denoiser(&checkpoint), guided(2.0), plan.clone(), batch(name, size, seed)).unwrap()
    };
    let (all, single, other) =
        (generator(COUNT, seed, "all"), generator(1, seed, "one"), generator(1, seed + 1, "other"));
    let images = all.sample(&ctx, &labels, 0, &mut |_| Ok(())).unwrap();
    assert!(images.iter().all(|x| x.is_finite()));
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let image = |k: u32| &images[k as usize * 784..][..784];
    for k in [0, 1, 37, COUNT - 1] {
        let alone = single.sample(&ctx, &labels[k as usize..=k as usize], k, &mut |_| Ok(())).unwrap();
        assert!(bits(&alone) == bits(image(k)), "image {k} is another alone");
    }
    assert_ne!(bits(image(0)), bits(image(10)), "two images of one class are the same");
    let another = other.sample(&ctx, &labels[..1], 0, &mut |_| Ok(())).unwrap();
    assert_ne!(bits(&another), bits(image(0)), "the seed has no effect");
}
