//! The images to evaluate: sampled from a model, or read from a file.

use super::context::EvalContext;
use super::progress::Phase;
use super::sample_cache::{Drawn, SampleCache, cache_name};
use super::target::{EvalTarget, ImageSource, WEIGHTS};
use crate::checkpoint::Checkpoint;
use crate::data::proportional_labels;
use crate::diffusion::autoencoder::Decoder;
use crate::diffusion::{BatchSpec, Generator, Sampling};
use crate::gpu::Context;
use crate::metrics::padding::ImagePadding;
use crate::nn::Model;
use crate::output::images::to_bytes;
use crate::output::{counted, note};
use crate::ranks::{divide, gather};
use crate::{Error, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Generated images without padding.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Bytes `[N, C, H, W]`.
    pub bytes: Vec<u8>,
    /// The class that each image was conditioned on, if any.
    pub labels: Option<Vec<u32>>,
    /// Seconds of sampling; 0 for images from a file.
    pub seconds: f64,
    /// Bytes of device memory: weights, images, and buffers of the programs.
    pub device_bytes: u64,
}

/// Number of images and sampling settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleSpec<'a> {
    /// The sampler's settings; `None` for targets without a sampler.
    pub sampling: Option<&'a Sampling>,
    /// Number of images.
    pub count: u32,
}

/// Writes the target's weights to the device.
pub(super) fn write_weights(ctx: &mut Context, target: &EvalTarget) -> Result<()> {
    match &target.source {
        ImageSource::Denoiser(checkpoint) => checkpoint.load(ctx, WEIGHTS),
        ImageSource::Autoencoder { vae, weights, .. } => vae.parameters().write(ctx, WEIGHTS, weights),
        ImageSource::Images(..) => Ok(()),
    }
}

/// Samples images with classes in the shares of the training images, or without if the guidance is
/// 0. Finished batches are cached in the evaluation's folder, so that an interrupted evaluation can
/// resume. Images from a file are returned as they are.
///
/// Uses its own device buffers, because their sizes depend on the sampler.
///
/// # Errors
/// [`Error::NonFinite`] for images that are not finite.
pub(super) fn sample(context: &EvalContext<'_>, spec: SampleSpec<'_>) -> Result<Samples> {
    let target = context.target;
    let options = context.options;
    let bar = Phase::new(&describe(context, spec));
    let mut ctx = context.ctx.fork();
    write_weights(&mut ctx, target)?;
    match &target.source {
        ImageSource::Images(bytes, labels) => {
            Ok(Samples { bytes: bytes.clone(), labels: labels.clone(), ..Samples::default() })
        }
        ImageSource::Autoencoder { vae, .. } => {
            let prior = context.latents.as_ref().expect("an autoencoder has a distribution of latents");
            let batch = options.batch.min(spec.count);
            let decoder = Decoder::new(&mut ctx, vae, WEIGHTS, batch, "evaluate")?;
            let start = Instant::now();
            let bytes = divide(&*ctx.ranks, spec.count.div_ceil(batch) as usize, |piece| {
                let first = piece as u32 * batch;
                let last = first.saturating_add(batch).min(spec.count);
                let bytes = crop(&decoder.draw(&ctx, prior, options.seed, first..last)?, target.padding)?;
                bar.set(f64::from(last) / f64::from(spec.count));
                Ok(bytes)
            })?;
            let seconds = start.elapsed().as_secs_f64();
            let device_bytes = ctx.buffers.total_bytes() + decoder.slot_bytes();
            Ok(Samples { bytes, labels: None, seconds, device_bytes })
        }
        ImageSource::Denoiser(checkpoint) => {
            let sampling = spec.sampling.expect("a denoiser needs sampling settings");
            let work = DenoiserSampling { context, checkpoint, sampling, count: spec.count };
            work.run(&mut ctx, &bar)
        }
    }
}

fn describe(context: &EvalContext<'_>, spec: SampleSpec<'_>) -> String {
    let settings = spec.sampling.map_or(String::new(), |s| format!(", {}, guidance {}", s.describe(), s.guidance));
    match context.target.source {
        ImageSource::Images(..) => "reading the images".to_string(),
        _ => format!("sampling {}{settings}", counted(spec.count, "image")),
    }
}

/// Sampling from a denoiser.
struct DenoiserSampling<'a> {
    context: &'a EvalContext<'a>,
    checkpoint: &'a Checkpoint,
    sampling: &'a Sampling,
    count: u32,
}

impl DenoiserSampling<'_> {
    fn run(&self, ctx: &mut Context, bar: &Phase) -> Result<Samples> {
        let target = self.context.target;
        let options = self.context.options;
        let padding = target.padding;
        let count = self.count;
        let batch = options.batch.min(count);
        let denoiser = self.checkpoint.denoiser(WEIGHTS)?;
        let (plan, _) = self.sampling.plan(denoiser.process)?;
        let spec = BatchSpec { name: "evaluate", size: batch, image: padding.model_shape(), seed: options.seed };
        let generator = Generator::new(ctx, denoiser, self.sampling.guidance(), plan, spec)?;
        let labels = proportional_labels(&target.train.class_counts(), count);
        let drawn = Drawn { labels: &labels, padding, batch, seed: options.seed };
        let device = format!("{} {}", ctx.gpu.adapter(), ctx.target());
        let name = cache_name(&device, self.checkpoint, self.sampling, &drawn);
        let mut cache =
            SampleCache::open(&*ctx.ranks, self.context.folder, &name, batch as usize * padding.data_len())?;
        self.context.caches.borrow_mut().extend(cache.path().map(PathBuf::from));
        let cached = (cache.bytes.len() / padding.data_len()) as u32;
        if cached > 0 {
            note(format_args!(
                "resuming an interrupted evaluation: {cached} of {} already sampled",
                counted(count, "image")
            ));
        }
        // The ranks sample batches in turn, and rank 0 caches them.
        let (rank, ranks) = (ctx.ranks.rank() as u32, ctx.ranks.size() as u32);
        for round in (cached..count).step_by(batch.saturating_mul(ranks) as usize) {
            let start = Instant::now();
            let first = round.saturating_add(rank * batch).min(count);
            let size = batch.min(count - first);
            let mut own = vec![];
            if size > 0 {
                let labels = &labels[first as usize..(first + size) as usize];
                let images = generator.sample(ctx, labels, first, &mut |done| {
                    bar.set((f64::from(round) + done * f64::from(size * ranks)) / f64::from(count));
                    Ok(())
                })?;
                own = crop(&images[..size as usize * padding.model_len()], padding)?;
            }
            let batches = gather(&*ctx.ranks, &own);
            let batches: Vec<_> = batches.iter().filter(|batch| !batch.is_empty()).collect();
            let seconds = start.elapsed().as_secs_f64() / batches.len() as f64;
            batches.iter().try_for_each(|batch| cache.add(batch, seconds))?;
        }
        let conditioned = target.info.conditional && self.sampling.guidance != 0.0;
        let device_bytes = ctx.buffers.total_bytes() + generator.slot_bytes();
        let SampleCache { bytes, seconds, .. } = cache;
        Ok(Samples { bytes, labels: conditioned.then_some(labels), device_bytes, seconds })
    }
}

fn crop(images: &[f32], padding: ImagePadding) -> Result<Vec<u8>> {
    if images.iter().all(|x| x.is_finite()) {
        return Ok(to_bytes(&padding.crop(images)));
    }
    Err(Error::NonFinite(
        "the samples contain numbers that are not finite: the checkpoint may be damaged, or its training diverged"
            .into(),
    ))
}
