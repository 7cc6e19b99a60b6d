//! Bits a dimension of training and test images, by what the model allows.

use super::evaluation::Likelihood;
use super::options::Options;
use super::progress::Progress;
use super::samples::WEIGHTS;
use super::target::{EvalTarget, Source};
use crate::Result;
use crate::gpu::Context;
use crate::metrics::likelihood::Bits;
use crate::metrics::likelihood::elbo::Elbo;
use crate::metrics::likelihood::flow::Flow;
use crate::metrics::likelihood::vlb::{Bound, Images};
use crate::metrics::subset::subset;
use crate::nn;

/// Images of each split, unless others are asked for.
const IMAGES: u32 = 1_000;
/// The same where an equation must be solved for each.
const SOLVED_IMAGES: u32 = 64;
/// Which subset of a split is measured: the same for every model.
const MEASURED: u32 = 1_003;
/// Time steps at which an image's bound is measured, besides t = 0.
const TIMESTEPS: u32 = 8;
/// Latents of an image.
const LATENTS: u32 = 64;

/// Measures images, telling the share that is done.
type Measure<'a> = Box<dyn Fn(Images<'_>, &mut dyn FnMut(f64) -> Result<()>) -> Result<Bits> + 'a>;

/// Measures training and test images; nothing for images from elsewhere, for an autoencoder without probabilities of bytes, and if it is not
/// wanted.
///
/// # Errors
/// The device's; a solver that runs out of steps.
pub fn likelihoods(ctx: &mut Context, target: &EvalTarget, options: &Options) -> Result<Vec<Likelihood>> {
    if options.likelihood_images == Some(0) {
        return Ok(vec![]);
    }
    let Some((usual, measure)) = measure(ctx, target, options)? else { return Ok(vec![]) };
    let mut all = vec![];
    for (split, data) in [("train", &target.train), ("test", &target.test)] {
        let count = data.count.min(options.likelihood_images.unwrap_or(usual) as usize);
        let rows = subset(data.count, count, [MEASURED, 0], 0);
        let bytes: Vec<u8> = rows.iter().flat_map(|&row| data.image(row)).copied().collect();
        let labels: Vec<u32> = rows.iter().map(|&row| data.labels[row]).collect();
        let part = Progress::begin(&format!("bits a dimension of {count} {split} images"));
        let Bits { what, images, total, parts } = measure(Images { bytes: &bytes, labels: &labels }, &mut |done| {
            part.done(done);
            Ok(())
        })?;
        all.push(Likelihood { split: split.into(), what, images, total, parts });
    }
    Ok(all)
}

/// What is measured of this kind of model, and usually of how many images.
fn measure<'a>(
    ctx: &'a mut Context,
    target: &'a EvalTarget,
    options: &'a Options,
) -> Result<Option<(u32, Measure<'a>)>> {
    let (batch, seed, border) = (options.batch, options.seed, target.border);
    Ok(match &target.source {
        Source::Denoiser(pipeline) if pipeline.process.schedule().is_some() => {
            let bound = Bound::new(ctx, &pipeline.denoiser(WEIGHTS), border, batch, "bound")?;
            let ctx = &*ctx;
            let draws = options.likelihood_draws.unwrap_or(TIMESTEPS);
            Some((IMAGES, Box::new(move |images, progress| bound.measure(ctx, images, draws, seed, progress))))
        }
        Source::Denoiser(pipeline) => {
            let flow = Flow::new(ctx, pipeline.denoiser(WEIGHTS), border, batch, "flow")?;
            let ctx = &*ctx;
            let tolerance = options.likelihood_tolerance;
            Some((
                SOLVED_IMAGES,
                Box::new(move |images, progress| flow.measure(ctx, images, tolerance, seed, progress)),
            ))
        }
        Source::Autoencoder(vae, _) if vae.likelihood() == nn::Likelihood::DiscretizedLogistic => {
            let elbo = Elbo::new(ctx, vae, WEIGHTS, batch, "elbo")?;
            let ctx = &*ctx;
            let latents = options.likelihood_draws.unwrap_or(LATENTS);
            Some((IMAGES, Box::new(move |images, progress| elbo.measure(ctx, images, latents, seed, progress))))
        }
        Source::Autoencoder(..) | Source::Images(..) => None,
    })
}
