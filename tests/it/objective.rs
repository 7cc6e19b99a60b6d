//! An objective that is implemented outside the crate: its own model, loss, table, state and
//! metric. It trains on images in memory and resumes bit for bit.

use crate::common::context;
use crate::common::run::files;
use degrain::Result;
use degrain::data::Dataset;
use degrain::gpu::Context;
use degrain::nn::layers::Conv;
use degrain::nn::{Model, Parameters, Weights};
use degrain::ops::{affine, ema, random_timesteps, weighted_mse};
use degrain::tape::{Shape, Tape};
use degrain::train::{Batch, LogEntry, Loss, Objective, Outcome, Settings, Size, Tables, Trainer, ValidationMetric};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

const SIDE: u32 = 8;
const BATCH: u32 = 4;
const WEIGHTS: &str = "copy.weights";
const MEAN_LOSS: &str = "copy.mean_loss";
const LOSSES: &str = "copy.losses";

/// One convolution.
#[derive(Debug)]
struct OneConv {
    parameters: Parameters,
    conv: Conv,
}

impl Model for OneConv {
    fn class(&self) -> &'static str {
        "OneConv"
    }

    fn config_json(&self) -> String {
        r#"{"_class_name": "OneConv"}"#.into()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        Some([1, SIDE, SIDE])
    }
}

/// Learns to copy an image. The moving average of the losses is state that checkpoints must keep.
#[derive(Debug)]
struct Copy {
    model: OneConv,
}

impl Copy {
    fn new() -> Copy {
        let mut parameters = Parameters::new();
        let conv = Conv::same(&mut parameters, "conv", 1, 1);
        Copy { model: OneConv { parameters, conv } }
    }
}

impl Objective for Copy {
    fn model(&self) -> &dyn Model {
        &self.model
    }

    fn describe(&self) -> String {
        "copies images".into()
    }

    fn tables(&self) -> Tables {
        vec![(WEIGHTS, vec![1.0])]
    }

    fn state(&self) -> Tables {
        vec![(MEAN_LOSS, vec![0.0; BATCH as usize])]
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let time = random_timesteps(t, batch.part, 1);
        let output = self.model.conv.forward(t, weights, batch.images);
        let weight = t.named(WEIGHTS, Shape::f32([1]));
        let loss = weighted_mse(t, output, batch.images, weight, time);
        if !weights.training() {
            // The validation keeps the loss itself.
            let copy = affine(t, loss, 1.0, 0.0);
            t.keep(copy, LOSSES);
        }
        Loss { loss, time, weights: None }
    }

    fn post_step(&self, t: &mut Tape, loss: Loss) {
        let mean = t.named(MEAN_LOSS, Shape::f32([BATCH]));
        ema(t, mean, loss.loss);
    }

    fn validation_metric(&self) -> Option<&dyn ValidationMetric> {
        Some(self)
    }
}

impl ValidationMetric for Copy {
    fn name(&self) -> &'static str {
        "largest_loss"
    }

    fn measure(&self, ctx: &Context, count: usize) -> Result<f64> {
        Ok(ctx.read::<f32>(LOSSES, 0, count)?.into_iter().fold(0.0, f32::max).into())
    }
}

fn settings(out: &Path) -> Settings {
    Settings {
        size: Some(Size::Tiny),
        out: Some(out.into()),
        steps: Some(40),
        batch: Some(BATCH),
        lr: Some(0.05),
        warmup: Some(0),
        validation_count: Some(4),
        validate_every: Some(20),
        checkpoint_every: Some(20),
        keep_checkpoints: Some(9),
        ..Settings::default()
    }
}

/// Images of different gray levels with a gradient.
fn images() -> Dataset {
    let pixel = |index: u32| ((index * 7 + index / 64 * 31) % 256) as u8;
    Dataset::from_arrays("gradients", (0..24 * SIDE * SIDE).map(pixel).collect(), vec![0; 24], [1, SIDE, SIDE])
}

fn train(trainer: Result<Trainer>) -> Vec<LogEntry> {
    let mut entries = vec![];
    let mut trainer = trainer.unwrap_or_else(|e| panic!("{e}"));
    trainer
        .run_with(&AtomicBool::new(false), &mut |entry| entries.push(entry.clone()))
        .unwrap_or_else(|e| panic!("{e}"));
    entries
}

#[test]
fn objective_outside_the_crate_trains_and_resumes_bit_for_bit() {
    let ctx = context();
    let folder = TempDir::new().unwrap();
    let [whole, paused] = ["whole", "paused"].map(|name| folder.path().join(name));
    let trainer = |out: &Path| Trainer::with_objective(&ctx, settings(out), images(), Copy::new());

    let entries = train(trainer(&whole));
    let losses: Vec<f64> = entries
        .iter()
        .filter_map(|entry| if let LogEntry::Step { loss, .. } = entry { Some(*loss) } else { None })
        .collect();
    assert_eq!(losses.len(), 40, "the callback receives every step");
    assert!(losses[39] < 0.2 * losses[0], "the loss only falls from {} to {}", losses[0], losses[39]);
    let metrics: Vec<&str> = entries
        .iter()
        .filter_map(|entry| if let LogEntry::Validation { metric, .. } = entry { metric.as_ref() } else { None })
        .map(|metric| &*metric.name)
        .collect();
    assert_eq!(metrics, ["largest_loss", "largest_loss"]);

    train(trainer(&paused).map(|trainer| trainer.stop_after(Some(20))));
    train(trainer(&paused).and_then(Trainer::resume));
    let checkpoint = |run: &Path| {
        let mut all = files(&run.join("checkpoint-40"));
        all.retain(|(name, _)| name != "degrain.json");
        all
    };
    assert!(checkpoint(&whole) == checkpoint(&paused), "the resumed run differs");
    let config = fs::read_to_string(whole.join("config.toml")).unwrap();
    assert!(config.contains("(in memory)"), "config.toml names a data set that was not used: {config}");
}

/// The seconds of training, evaluation and sampling of a run continue after a resume.
#[test]
fn seconds_of_a_resumed_run_continue() {
    let ctx = context();
    let folder = TempDir::new().unwrap();
    let trainer = || Trainer::with_objective(&ctx, settings(folder.path()), images(), Copy::new());
    train(trainer().map(|trainer| trainer.stop_after(Some(15))));
    let metadata = folder.path().join("checkpoint-15/degrain.json");
    let mut value: Value = serde_json::from_str(&fs::read_to_string(&metadata).unwrap()).unwrap();
    assert_eq!(value["seconds"]["evaluated"], 0.0, "the first validation is after step 20: {value}");
    assert_eq!(value["seconds"]["sampled"], 0.0, "there are no samples: {value}");
    value["seconds"] = serde_json::json!({ "trained": 1e6, "evaluated": 2e6, "sampled": 3e6 });
    fs::write(&metadata, value.to_string()).unwrap();

    for entry in train(trainer().and_then(Trainer::resume)) {
        let (LogEntry::Step { seconds, .. }
        | LogEntry::Validation { seconds, .. }
        | LogEntry::Evaluation { seconds, .. }) = entry;
        let since = [seconds.trained - 1e6, seconds.evaluated - 2e6, seconds.sampled - 3e6];
        assert!(since.iter().all(|seconds| (0.0..1e6).contains(seconds)), "{seconds:?}");
    }
    let last = fs::read_to_string(folder.path().join("checkpoint-40/degrain.json")).unwrap();
    let value: Value = serde_json::from_str(&last).unwrap();
    assert!(value["seconds"]["evaluated"].as_f64().unwrap() > 2e6, "{value}");
}

/// An existing run is not overwritten, and a run without a checkpoint is not resumed.
#[test]
fn resume_needs_a_run_and_a_request() {
    let ctx = context();
    let folder = TempDir::new().unwrap();
    let trainer = || Trainer::with_objective(&ctx, settings(folder.path()), images(), Copy::new());
    let message = trainer().and_then(Trainer::resume).err().unwrap().to_string();
    assert!(message.contains("holds no checkpoint yet"), "{message}");
    let mut first = trainer().and_then(Trainer::resume_or_start).unwrap().stop_after(Some(1));
    assert_eq!(first.run(&AtomicBool::new(false)).unwrap(), Outcome::Stopped(1));
    let message = trainer().unwrap().run(&AtomicBool::new(false)).unwrap_err().to_string();
    assert!(message.contains("already holds a run of 1 step."), "{message}");
    assert_eq!(trainer().and_then(Trainer::resume_or_start).unwrap().finished_steps(), 1);
}
