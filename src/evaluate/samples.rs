//! Draws the images that are evaluated.

use super::progress::Progress;
use super::sample_cache::SampleCache;
use super::target::{EvalTarget, Source};
use crate::diffusion::autoencoder::Decoder;
use crate::diffusion::pipeline::Pipeline;
use crate::diffusion::{Generator, Request, ResolvedSampling};
use crate::gpu::Context;
use crate::metrics::padding::ImagePadding;
use crate::nn::Model;
use crate::output::images::to_bytes;
use crate::{Error, Result};
use std::path::Path;
use std::time::Instant;

/// Memory of the weights.
pub const WEIGHTS: &str = "weights";

/// Images, cropped to the data's size.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Bytes `[N, C, H, W]`.
    pub bytes: Vec<u8>,
    /// The class asked for each, where classes were asked for.
    pub labels: Option<Vec<u32>>,
    /// Seconds that it took; 0 for images that were there.
    pub seconds: f64,
    /// Bytes of device memory that were planned for it: weights, images, and what the programs need.
    pub device_bytes: u64,
}

/// How many are drawn from what.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Images.
    pub count: u32,
    /// Images at once.
    pub batch: u32,
    /// Seed of the noise.
    pub seed: u64,
}

/// Writes the weights of what is examined into memory.
///
/// # Errors
/// Out of memory.
pub fn load(ctx: &mut Context, target: &EvalTarget) -> Result<()> {
    match &target.source {
        Source::Denoiser(pipeline) => pipeline.network.parameters().write(ctx, WEIGHTS, &pipeline.weights),
        Source::Autoencoder(vae, weights) => vae.parameters().write(ctx, WEIGHTS, weights),
        Source::Images(..) => Ok(()),
    }
}

/// Draws images with all classes in turn, or by a way whose guidance is 0 without any. In `folder` lies what is drawn until the evaluation is
/// written. Each drawing has a memory of its own: another way may want more of it.
///
/// # Errors
/// The device's; images that are not finite.
pub fn draw(
    ctx: &Context,
    target: &EvalTarget,
    way: Option<&ResolvedSampling>,
    order: Order,
    what: &str,
    folder: &Path,
) -> Result<Samples> {
    let part = Progress::begin(what);
    let mut ctx = ctx.fork();
    load(&mut ctx, target)?;
    match (&target.source, way) {
        (Source::Images(bytes, labels), _) => {
            Ok(Samples { bytes: bytes.clone(), labels: labels.clone(), ..Samples::default() })
        }
        (Source::Autoencoder(vae, _), _) => {
            let batch = order.batch.min(order.count);
            let decoder = Decoder::new(&mut ctx, vae, WEIGHTS, batch, "evaluate")?;
            let began = Instant::now();
            let images = decoder.draw(&ctx, order.seed, 0..order.count)?;
            let seconds = began.elapsed().as_secs_f64();
            let device_bytes = ctx.buffers.total_bytes() + decoder.slot_bytes();
            Ok(Samples { bytes: cropped(&images, target.border)?, labels: None, seconds, device_bytes })
        }
        (Source::Denoiser(pipeline), Some(way)) => sample(&mut ctx, (target, pipeline), way, order, &part, folder),
        (Source::Denoiser(_), None) => unreachable!("a denoiser is sampled in some way"),
    }
}

fn sample(
    ctx: &mut Context,
    (target, pipeline): (&EvalTarget, &Pipeline),
    way: &ResolvedSampling,
    order: Order,
    part: &Progress,
    folder: &Path,
) -> Result<Samples> {
    let model = pipeline.denoiser(WEIGHTS);
    let (batch, border) = (order.batch.min(order.count), target.border);
    let request = Request {
        batch,
        image: border.model(),
        guidance: way.guidance,
        guidance_rescale: 0.0,
        classifier: None,
        seed: order.seed,
    };
    let generator = Generator::new(ctx, &model, &way.plan, &request, "evaluate")?;
    let classes = target.train.classes.max(1) as u32;
    let labels: Vec<u32> = (0..order.count).map(|k| k % classes).collect();
    let mut kept = SampleCache::open(folder, ctx, pipeline, way, order, border.pixels())?;
    let there = (kept.bytes.len() / border.pixels()) as u32;
    if there > 0 {
        eprintln!("{there} of {} images are there from an evaluation that was interrupted", order.count);
    }
    let each = border.model().iter().product::<u32>() as usize;
    for first in (there..order.count).step_by(batch as usize) {
        let began = Instant::now();
        let taken = batch.min(order.count - first);
        generator.begin(ctx, first, &labels[first as usize..(first + taken) as usize], None)?;
        let share = |done: f64| (f64::from(first) + done * f64::from(taken)) / f64::from(order.count);
        generator.run(ctx, &model, first, &mut |done| {
            part.done(share(done));
            Ok(())
        })?;
        let images = generator.images(ctx)?;
        kept.add(&cropped(&images[..taken as usize * each], border)?, began.elapsed().as_secs_f64())?;
    }
    let told = target.about.conditional && way.guidance != 0.0;
    let device_bytes = ctx.buffers.total_bytes() + generator.slot_bytes();
    let SampleCache { bytes, seconds, .. } = kept;
    Ok(Samples { bytes, labels: told.then_some(labels), device_bytes, seconds })
}

fn cropped(images: &[f32], border: ImagePadding) -> Result<Vec<u8>> {
    match images.iter().all(|x| x.is_finite()) {
        true => Ok(to_bytes(&border.cropped(images))),
        false => Err(Error::NonFinite(
            "the samples hold numbers that are not finite: the checkpoint may be damaged, or was trained in a way that diverged".into(),
        )),
    }
}
