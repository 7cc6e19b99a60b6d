//! Cost of training and sampling: time, floating-point operations, memory.

use super::evaluation::Cost;
use super::target::{EvalTarget, ImageSource};
use crate::gpu::Context;
use crate::nn::{Conditions, Model, Network};
use crate::output::jsonl;
use crate::tape::{Shape, Tape};
use crate::train::{LogEntry, TrainingCost};
use crate::{Error, Result};
use std::path::Path;

/// The cost of the target's training and of one forward pass. The costs of sampling are 0 until the
/// samples exist. `None` for images without a model.
///
/// # Errors
/// Settings of the run that no longer fit its data; a damaged log.
pub(super) fn cost(ctx: &Context, target: &EvalTarget) -> Result<Option<Cost>> {
    let flops_per_image = match &target.source {
        ImageSource::Images(..) => return Ok(None),
        ImageSource::Denoiser(checkpoint) => {
            denoiser_flops(ctx, checkpoint.denoiser("weights")?.network, target.padding.model_shape())
        }
        ImageSource::Autoencoder { vae, .. } => {
            let mut tape = Tape::new(ctx.target());
            let latents = tape.named("z", Shape::f32([1, vae.latent_channels()]));
            let weights = vae.parameters().fixed(&mut tape, "weights");
            vae.decode(&mut tape, &weights, latents);
            tape.summary().flops
        }
    };
    let (mut flops_per_training_image, mut training_bytes) = (0, 0);
    if let Some(settings) = &target.settings {
        match TrainingCost::new(ctx, settings.clone(), &target.train) {
            Ok(cost) => (flops_per_training_image, training_bytes) = (cost.flops_per_image, cost.bytes),
            // A model that was trained on a larger device.
            Err(Error::TooLarge { .. }) => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(Some(Cost {
        adapter: ctx.gpu.adapter().to_string(),
        training_seconds: target.training_seconds,
        training_images_per_second: target.run.as_deref().map_or(Ok(0.0), median_images_per_second)?,
        flops_per_image,
        flops_per_training_image,
        training_bytes,
        sampling_bytes: 0,
        sampling_images_per_second: 0.0,
    }))
}

fn denoiser_flops(ctx: &Context, network: &dyn Network, [channels, height, width]: [u32; 3]) -> u64 {
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let x = t.named("x", Shape::f32([1, channels, height, width]));
    let time = match network.time_width() {
        0 => None,
        width => Some(t.named("time", Shape::f32([1, width]))),
    };
    let labels = network.classes().map(|_| t.named("labels", Shape::u32([1])));
    let weights = network.parameters().fixed(t, "weights");
    network.forward(t, &weights, x, Conditions { time, labels });
    tape.summary().flops
}

/// Median of the images per second in a run's log; 0 without a log.
fn median_images_per_second(run: &Path) -> Result<f64> {
    let log = run.join("log.jsonl");
    let lines: Vec<LogEntry> = if log.is_file() { jsonl::read(&log)? } else { vec![] };
    let rate = |line: LogEntry| match line {
        LogEntry::Step { images_per_second, .. } => Some(images_per_second).filter(|&rate| rate > 0.0),
        _ => None,
    };
    let mut rates: Vec<f64> = lines.into_iter().filter_map(rate).collect();
    rates.sort_by(f64::total_cmp);
    Ok(rates.get(rates.len() / 2).copied().unwrap_or(0.0))
}
