//! Every preset, with narrow networks: it resolves for every size, its training step agrees with
//! the references kernel by kernel, it trains, goes on bit for bit after a pause, and draws from
//! what it saved.

use crate::common::context;
use crate::common::run::{digits, files};
use degrain::checkpoint::Checkpoint;
use degrain::diffusion::{
    BatchSpec, ClassifierGuide, Generator, Guidance, ProcessConfig, SamplerName, SamplingOptions,
};
use degrain::gpu::{Context, KernelVariant};
use degrain::nn::Model;
use degrain::train::{Inspection, Outcome, Settings, Size, Storage, Trainer, presets};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

fn small(preset: &str, out: &Path) -> Settings {
    Settings {
        preset: Some(preset.into()),
        size: Some(Size::Tiny),
        data: Some(digits().into()),
        out: Some(out.into()),
        steps: Some(6),
        batch: Some(4),
        warmup: Some(1),
        timesteps: Some(50),
        block_out_channels: Some(vec![8, 8]),
        attention: Some(vec![false, true]),
        norm_num_groups: Some(4),
        condition_channels: Some(4),
        hidden_channels: Some(8),
        validation_count: Some(6),
        validate_every: Some(3),
        sample_every: Some(6),
        checkpoint_every: Some(3),
        keep_checkpoints: Some(9),
        sampling_steps: Some(3),
        ..Settings::default()
    }
}

fn train(ctx: &Context, settings: Settings, resume: bool, stop_after: Option<u32>) {
    let mut trainer = Trainer::new(ctx, settings).unwrap_or_else(|e| panic!("{e}")).stop_after(stop_after);
    if resume {
        trainer = trainer.resume().unwrap_or_else(|e| panic!("{e}"));
    }
    let outcome = trainer.run(&AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome, stop_after.map_or(Outcome::Finished, Outcome::Stopped));
}

/// Everything of a checkpoint but how long it took.
fn checkpoint(run: &Path, step: u32) -> Vec<(String, Vec<u8>)> {
    let mut all = files(&run.join(format!("checkpoint-{step}")));
    all.retain(|(name, _)| name != "degrain.json");
    all
}

#[test]
fn presets_resolve_for_every_size() {
    for &preset in presets::NAMES {
        for (size, name) in [(Size::Tiny, "tiny"), (Size::Small, "small"), (Size::Base, "base")] {
            let asked = Settings { preset: Some(preset.into()), size: Some(size), ..Settings::default() };
            let config = asked.resolve(KernelVariant::Tiled).unwrap_or_else(|e| panic!("{preset} {name}: {e}"));
            assert_eq!(config.out, Path::new(&format!("runs/{preset}-{name}")));
        }
    }
    let unknown = Settings { preset: Some("gan".into()), ..Settings::default() };
    let message = unknown.resolve(KernelVariant::Tiled).unwrap_err().to_string();
    assert!(presets::NAMES.iter().all(|preset| message.contains(preset)), "{message}");
}

fn check(preset: &str, change: impl Fn(Settings) -> Settings) {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [whole, paused] = ["whole", "paused"].map(|name| folder.path().join(name));
    let settings = |out: &Path| change(small(preset, out));
    let mut trainer = Trainer::new(&ctx, settings(&whole)).unwrap_or_else(|e| panic!("{preset}: {e}"));
    let verify = Inspection { verify: true, ..Inspection::default() };
    trainer.inspect(verify).unwrap_or_else(|e| panic!("{preset}: {e}"));

    train(&ctx, settings(&whole), false, None);
    train(&ctx, settings(&paused), false, Some(3));
    train(&ctx, settings(&paused), true, None);
    for ((name, a), (_, b)) in checkpoint(&whole, 6).iter().zip(&checkpoint(&paused, 6)) {
        assert!(a == b, "{preset}: {name} differs after a pause");
    }
    let trained = Checkpoint::open(&whole.join("checkpoint-6")).unwrap_or_else(|e| panic!("{preset}: {e}"));
    assert_eq!(trained.warnings, [""; 0]);
    assert_eq!(trained.model.model().config_json(), trainer.objective().model().config_json());
    let drawn = whole.join("samples/averaged-000006.png").exists();
    assert_eq!(drawn, preset != "classifier", "{preset}: a picture of samples");
    assert!(!drawn || preset == "vae" || whole.join("reverse.png").exists());
}

macro_rules! presets {
    ($($name:ident: $preset:literal, $change:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check($preset, $change);
            }
        )*
    };
}

presets! {
    plain: "plain", |s| s;
    plain_conditional: "plain-conditional", |s| s;
    residual_attention: "residual-attention", |s| s;
    residual_attention_average: "residual-attention",
        |s| Settings { downsample: Some(degrain::nn::DownsampleType::Average), ..s };
    score_vp: "score", |s| s;
    score_sub_vp: "score", |s| Settings { process: Some("sub_vp".parse().unwrap()), ..s };
    score_ve: "score", |s| Settings {
        process: Some("ve".parse().unwrap()), sampler: Some(SamplerName::PredictorCorrector), ..s
    };
    hybrid: "hybrid", |s| s;
    edm: "edm", |s| s;
    flow: "flow", |s| s;
    vae: "vae", |s| s;
    vae_bernoulli: "vae", |s| Settings { likelihood: Some(degrain::nn::Likelihood::Bernoulli), ..s };
    classifier: "classifier", |s| s;
    classifier_of_clean_images: "classifier", |s| Settings { noise_aware: Some(false), ..s };
}

/// Streamed images are the ones that would have been chosen on the device, over the ends of chunks
/// and epochs.
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
            ..small("ddpm", out)
        };
        if let Some(stop) = stop {
            train(&ctx, settings(&out), false, Some(stop));
        }
        train(&ctx, settings(&out), stop.is_some(), None);
        checkpoint(&out, 40)
    };
    let (device, streamed) = (run("device", Storage::Device, None), run("streamed", Storage::Stream, None));
    assert!(device == streamed, "streamed images are others");
    assert!(device == run("resumed", Storage::Stream, Some(20)), "a resumed stream begins elsewhere");
}

/// A classifier pulls samples to its class: its log-probability of the class rises with the scale.
#[test]
fn classifier_guidance_raises_the_probability_of_the_class() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [model, judge] = ["model", "judge"].map(|name| folder.path().join(name));
    train(&ctx, Settings { unconditional: Some(true), ..small("guided", &model) }, false, Some(3));
    let longer = Settings { steps: Some(60), lr: Some(5e-3), ..small("classifier", &judge) };
    train(&ctx, longer, false, None);
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
    assert_eq!(none, zero, "a scale of zero guides");
    let (weak, strong) = (draw(Some(3.0), "weak"), draw(Some(30.0), "strong"));
    let score = |images: &[f32]| log_probability(&ctx, network, &judge.weights, images, &labels);
    let scores = [&none, &weak, &strong].map(|images| score(images));
    println!("mean log-probability of the class: {scores:?}");
    assert!(scores[0] < scores[1] && scores[1] < scores[2], "{scores:?}");
}

/// Mean log-probability that a classifier gives the classes at time step 0.
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

/// What EDM takes from the data.
#[test]
fn edm_takes_sigma_data_from_the_data_set() {
    let ctx = context();
    let folder = TempDir::new().unwrap();
    let trainer = Trainer::new(&ctx, small("edm", folder.path())).unwrap();
    let ProcessConfig::Edm(edm) = trainer.config().process else { panic!("{}", trainer.config().process) };
    assert_eq!(edm.sigma_data, Some(trainer.dataset().statistics.std));
}
