//! Gradients of a whole training step of each preset against PyTorch's autograd in float64, for the
//! same weights and inputs (`tests/goldens/gradients.py`).
//!
//! The step is the one that `train` runs, for narrow networks without layers of zeros. Its random
//! numbers are compared with those of the script. The floats among them are then replaced by the
//! script's, so that both sides differentiate at the same point. The noise of a VAE's latents and the
//! masks of dropout are not tensors of the step. A wrong mask shows only in the gradients.

use crate::common::golden::Golden;
use crate::common::small::small;
use crate::common::{context, context_with_tiles};
use degrain::diffusion::Prediction;
use degrain::gpu::Context;
use degrain::nn::{GRADIENTS, Likelihood, PARAMETERS, Parameter, Parameters};
use degrain::rng::{key, philox, uniform};
use degrain::tape::{Dtype, Program, Tape, Tensor};
use degrain::train::{Settings, Size, Trainer, presets};

/// Largest difference of a gradient from PyTorch's, relative to the largest entry of its tensor.
const TOLERANCE: f64 = 1e-4;
/// Largest difference of a random number, relative to its size, or to 1 if it is smaller.
const ROUNDING: f64 = 4e-6;
/// Finished steps before the one that is compared. One of its images has the first timestep, and
/// one loses its label.
const STEP: u32 = 5858;

/// The settings of a preset, with the sizes of the script's networks.
fn settings(preset: &str) -> Settings {
    Settings {
        // The preset's own T.
        timesteps: None,
        // Only this preset has attention at the finest level.
        attention: Some(vec![preset == "residual-attention-published", true]),
        attention_head_dim: Some(4),
        condition_channels: Some(2),
        validation_count: Some(0),
        ..small(preset)
    }
}

/// The script's weights: random numbers by the place of a tensor's name among all of them.
fn weights(parameters: &Parameters, seed: u64) -> Vec<f32> {
    let mut trained: Vec<&Parameter> = parameters.iter().filter(|p| !p.statistic).collect();
    trained.sort_by(|a, b| a.name.cmp(&b.name));
    let mut weights = vec![0.0; parameters.flat_shape().len()];
    for (number, p) in trained.into_iter().enumerate() {
        let inputs: u32 = p.shape.dims()[1..].iter().product();
        for (i, weight) in weights[p.range()].iter_mut().enumerate() {
            let words = philox([number as u32, 0, 0, i as u32 / 4], key(seed));
            let u = 2.0 * uniform(words[i % 4]) - 1.0;
            *weight = match p.shape.dims() {
                [_] => 0.3 * u + if p.name.ends_with(".weight") { 1.0 } else { 0.0 },
                _ => u / f64::from(inputs).sqrt(),
            } as f32;
        }
    }
    weights
}

/// Random numbers of a step in one tensor, and their name in the goldens.
struct Draw {
    node: usize,
    tensor: Tensor,
    name: &'static str,
}

/// Name of the buffer that holds a tensor after the step.
fn kept(name: &str) -> String {
    format!("step.{name}")
}

/// Keeps the random numbers of a step and its losses. Returns the random numbers in the order of
/// their nodes, and the network's input if the golden has it.
fn keep(tape: &mut Tape, golden: &Golden) -> Vec<Draw> {
    let mut draws = vec![];
    for (node, applied) in tape.nodes().to_vec().into_iter().enumerate() {
        let op = format!("{:?}", applied.op);
        let names: &[&'static str] = match op.split([' ', '{']).next().unwrap() {
            "GatherBatch" => &["images", "classes"],
            "Timesteps" => &["time"],
            "Randn" => &["eps"],
            "DropLabel" => &["labels"],
            "QSample" if golden.has("x_t") => &["x_t"],
            "Reparameterize" => {
                tape.keep(applied.inputs[0], &kept("mean"));
                tape.keep(applied.inputs[1], &kept("log_variance"));
                tape.keep(applied.outputs[0], &kept("z"));
                &[]
            }
            "LogStep" => {
                tape.keep(applied.inputs[0], &kept("loss"));
                &[]
            }
            _ => &[],
        };
        for (&name, &tensor) in names.iter().zip(&applied.outputs) {
            tape.keep(tensor, &kept(name));
            draws.push(Draw { node, tensor, name });
        }
    }
    draws
}

fn largest(x: &[f32]) -> f64 {
    x.iter().fold(0.0, |m, &x| f64::max(m, f64::from(x).abs()))
}

/// The largest difference; infinite if a number is not finite.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let apart = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).abs();
    a.iter().zip(b).map(apart).fold(0.0, |m, d| if d.is_finite() { f64::max(m, d) } else { f64::INFINITY })
}

/// Compares random numbers up to rounding.
fn check_noise(case: &str, name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{case}: {name}");
    for (got, expected) in got.iter().zip(expected) {
        let close = f64::from(got - expected).abs() < ROUNDING * f64::from(expected.abs().max(1.0));
        assert!(close, "{case}: {name} is {got} instead of the golden's {expected}: make goldens");
    }
}

/// Runs the step of a golden with its weights and inputs, up to the gradients and losses.
fn run(ctx: &Context, case: &str, settings: Settings, golden: &Golden) -> Trainer {
    let inputs = Golden::open("gradients/inputs.safetensors");
    let mut trainer = Trainer::new(ctx, settings).unwrap_or_else(|e| panic!("{case}: {e}"));
    let mut tape = trainer.training_tape().unwrap();
    let draws = keep(&mut tape, golden);
    let noised = !case.starts_with("vae") && case != "classifier-clean";
    // Without dropped labels, the labels are the classes.
    let dropped = golden.has("labels") && golden.words("labels") != inputs.words("classes");
    let of_golden = ["time", "x_t"].into_iter().filter(|name| golden.has(name)).chain(dropped.then_some("labels"));
    for name in of_golden.chain(["images", "classes"]).chain(noised.then_some("eps")) {
        assert!(draws.iter().any(|draw| draw.name == name), "{case}: no operator of the step draws {name}");
    }
    trainer.upload().unwrap();
    let program = Program::compile(trainer.context_mut(), &tape).unwrap();
    trainer.initialize().unwrap();
    let objective = trainer.objective().clone();
    let parameters = objective.model().parameters();
    let ctx = trainer.context();
    let seed = golden.words("seed").1[0];
    ctx.write(PARAMETERS, 0, &weights(parameters, u64::from(seed))).unwrap();
    ctx.write(GRADIENTS, 0, &vec![f32::NAN; parameters.flat_shape().len()]).unwrap();

    let step = trainer.step_uniforms(STEP);
    let mut done = 0;
    for Draw { node, tensor, name } in draws {
        let section = tape.sections().iter().find(|section| section.node == node && section.backward.is_none());
        let end = section.expect("it has been recorded").calls.end;
        program.run_calls(ctx, done..end, &step).unwrap();
        done = end;
        let file = if golden.has(name) { golden } else { &inputs };
        let (shape, expected) = file.words(name);
        assert_eq!(shape, tape.shape(tensor), "{case}: shape of {name}");
        let got = program.read_words(ctx, &tape, tensor).unwrap();
        if shape.dtype == Dtype::U32 {
            assert_eq!(got, expected, "{case}: {name} differs from the golden: make goldens");
        } else {
            let floats = |words: &[u32]| words.iter().map(|&word| f32::from_bits(word)).collect::<Vec<_>>();
            check_noise(case, name, &floats(&got), &floats(&expected));
            ctx.write(&kept(name), 0, &expected).unwrap();
        }
    }
    program.run_calls(ctx, done..tape.calls().len(), &step).unwrap();
    trainer
}

/// Compares the noise of a VAE's latents, which is not a tensor of the step.
fn check_latent(ctx: &Context, case: &str) {
    let expected = Golden::open("gradients/inputs.safetensors").floats("latent");
    let [mean, log_variance, z] =
        ["mean", "log_variance", "z"].map(|name| ctx.read::<f32>(&kept(name), 0, expected.len()).unwrap());
    let noise = |i: usize| (z[i] - mean[i]) / (log_variance[i] / 2.0).exp();
    check_noise(case, "latent", &(0..z.len()).map(noise).collect::<Vec<_>>(), &expected);
}

/// A tensor in parts that are compared by themselves. The outputs of the last layer have different
/// meanings: in `vdm`, the gradients of the variance are 0.4 % of those of the mean.
fn parts<'a>(p: &Parameter, values: &'a [f32]) -> std::slice::Chunks<'a, f32> {
    let outputs = if p.name.contains("conv_out.") { p.shape.dims()[0] as usize } else { 1 };
    values.chunks(values.len() / outputs)
}

/// Compares the losses and gradients of a step with a golden. Returns what differs.
fn differences(ctx: &Context, case: &str, settings: Settings) -> Vec<String> {
    let golden = Golden::open(&format!("gradients/{case}.safetensors"));
    let trainer = run(ctx, case, settings, &golden);
    let ctx = trainer.context();
    if case.starts_with("vae") {
        check_latent(ctx, case);
    }
    let parameters = trainer.objective().model().parameters();
    let gradients: Vec<f32> = ctx.read(GRADIENTS, 0, parameters.flat_shape().len()).unwrap();
    let trained: Vec<&Parameter> = parameters.iter().filter(|p| !p.statistic).collect();
    let name = |p: &Parameter| format!("grad.{}", p.name);
    let of_golden = golden.names().into_iter().filter(|name| name.starts_with("grad."));
    let mut names: Vec<String> = trained.iter().map(|p| name(p)).collect();
    names.sort();
    assert!(names.iter().cloned().eq(of_golden), "{case}: the model has other tensors: {names:?}");

    let losses = golden.floats("loss");
    let got: Vec<f32> = ctx.read(&kept("loss"), 0, losses.len()).unwrap();
    let mut ratios = vec![(distance(&got, &losses) / largest(&losses), "loss".to_owned())];
    for p in &trained {
        let expected = golden.floats(&name(p));
        for (got, expected) in parts(p, &gradients[p.range()]).zip(parts(p, &expected)) {
            // A bias whose gradient is zero in exact arithmetic is compared with the weight of its layer.
            // Its gradient is a sum of numbers of that size, which cancel except for rounding errors.
            let scale = match largest(expected) {
                0.0 => largest(&golden.floats(&name(p).replace(".bias", ".weight"))),
                scale => scale,
            };
            ratios.push((distance(got, expected) / scale, p.name.clone()));
        }
    }
    ratios.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (worst, place) = &ratios[0];
    let (kernels, count) = (ctx.target(), trained.len());
    println!("{case}, kernels {kernels}: {count} tensors, at worst {worst:.1e} of the largest entry, in {place}");
    let wrong = ratios.iter().filter(|(ratio, _)| ratio.is_nan() || *ratio > TOLERANCE);
    wrong.map(|(ratio, place)| format!("{case}: {place} by {ratio:.1e}")).collect()
}

#[track_caller]
fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} tensors differ from PyTorch:\n{}", wrong.len(), wrong.join("\n"));
}

fn check_presets(ctx: &Context) {
    let wrong: Vec<String> =
        presets::NAMES.iter().flat_map(|preset| differences(ctx, preset, settings(preset))).collect();
    report(&wrong);
}

#[test]
fn preset_gradients_match_pytorch() {
    check_presets(&context());
}

#[test]
fn preset_gradients_tiled_match_pytorch() {
    check_presets(&context_with_tiles());
}

macro_rules! variants {
    ($($test:ident: $case:literal, $preset:literal { $field:ident: $value:expr })*) => {
        $(
            #[test]
            fn $test() {
                for ctx in [context(), context_with_tiles()] {
                    let settings = Settings { $field: Some($value), ..settings($preset) };
                    report(&differences(&ctx, $case, settings));
                }
            }
        )*
    };
}

variants! {
    // Epsilon, linear betas, and the time added instead of scale and shift.
    preset_gradients_ddpm_small: "ddpm-small", "ddpm" { size: Size::Small }
    preset_gradients_ddpm_sample: "ddpm-sample", "ddpm" { prediction: Prediction::Sample }
    preset_gradients_score_sub_vp: "score-sub-vp", "score" { process: "sub_vp".parse().unwrap() }
    preset_gradients_score_ve: "score-ve", "score" { process: "ve".parse().unwrap() }
    preset_gradients_vae_bernoulli: "vae-bernoulli", "vae" { likelihood: Likelihood::Bernoulli }
    preset_gradients_classifier_of_clean_images: "classifier-clean", "classifier" { noise_aware: false }
}
