//! Bits per dimension of training and test images, by the method that fits the model.

use super::context::EvalContext;
use super::evaluation::SplitLikelihood;
use super::progress::Phase;
use super::target::{ImageSource, WEIGHTS};
use crate::Result;
use crate::metrics::likelihood::elbo::ElboEstimator;
use crate::metrics::likelihood::probability_flow::{FlowLikelihood, FlowSettings};
use crate::metrics::likelihood::vlb::VlbEstimator;
use crate::metrics::likelihood::{BitsPerDimension, Draws, LabeledImages};
use crate::metrics::subset::subset;
use crate::nn;
use crate::output::{counted, note};

/// Default number of images per split.
const IMAGES: u32 = 1_000;
/// Default number of images per split if an ODE is solved for each image.
const ODE_IMAGES: u32 = 64;
/// Id of the subset of each split. It is the same for every model.
const SUBSET: u32 = 1_003;
/// Default number of timesteps per image, in addition to t = 0.
const TIMESTEPS: u32 = 8;
/// Default number of latents per image.
const LATENTS: u32 = 64;

/// Measures images and reports the finished share.
type Measure<'a> = Box<dyn Fn(LabeledImages<'_>, &mut dyn FnMut(f64) -> Result<()>) -> Result<BitsPerDimension> + 'a>;

/// Likelihoods of training and test images. Empty for images without a model, for an autoencoder
/// without probabilities of bytes, for padded images of a process in continuous time, and if the
/// user turned them off.
pub(super) fn likelihoods(context: &mut EvalContext<'_>) -> Result<Vec<SplitLikelihood>> {
    let options = context.options;
    let target = context.target;
    if options.likelihood_images == Some(0) {
        return Ok(vec![]);
    }
    let Some((default_count, measure)) = method(context)? else { return Ok(vec![]) };
    let mut all = vec![];
    for (split, data) in [("train", &*target.train), ("test", &target.test)] {
        let count = data.count.min(options.likelihood_images.unwrap_or(default_count) as usize);
        let rows = subset(data.count, count, [SUBSET, 0], 0);
        let bytes: Vec<u8> = rows.iter().flat_map(|&row| data.image(row)).copied().collect();
        let labels: Vec<u32> = rows.iter().map(|&row| data.labels[row]).collect();
        let bar = Phase::new(&format!("measuring bits per dimension of {}", counted(count, &format!("{split} image"))));
        let images = LabeledImages { bytes: &bytes, labels: &labels };
        let BitsPerDimension { method, images, total, parts } = measure(images, &mut |done| {
            bar.set(done);
            Ok(())
        })?;
        all.push(SplitLikelihood { split: split.into(), method, images, total, parts });
    }
    Ok(all)
}

/// The default number of images and the method for this kind of model.
fn method<'a>(context: &'a mut EvalContext<'_>) -> Result<Option<(u32, Measure<'a>)>> {
    let target = context.target;
    let options = context.options;
    let ctx = &mut context.ctx;
    let seed = options.seed;
    // A batch that is not full costs as much as a full one.
    let most = target.train.count.max(target.test.count) as u32;
    let batch = |default: u32| options.batch.min(most).min(options.likelihood_images.unwrap_or(default));
    Ok(match &target.source {
        ImageSource::Denoiser(checkpoint) if checkpoint.denoiser(WEIGHTS)?.process.schedule().is_some() => {
            let vlb = VlbEstimator::new(ctx, &checkpoint.denoiser(WEIGHTS)?, target.padding, batch(IMAGES), "vlb")?;
            let ctx = &*ctx;
            let draws = Draws { per_image: options.likelihood_draws.unwrap_or(TIMESTEPS), seed };
            Some((IMAGES, Box::new(move |images, progress| vlb.measure(ctx, images, draws, progress))))
        }
        ImageSource::Denoiser(_) if target.padding.has_border() => {
            note("warning: bits per dimension are not measured: the model's images are padded");
            None
        }
        ImageSource::Denoiser(checkpoint) => {
            let flow =
                FlowLikelihood::new(ctx, checkpoint.denoiser(WEIGHTS)?, target.padding, batch(ODE_IMAGES), "flow")?;
            let ctx = &*ctx;
            let settings = FlowSettings { tolerance: options.likelihood_tolerance, seed };
            Some((ODE_IMAGES, Box::new(move |images, progress| flow.measure(ctx, images, settings, progress))))
        }
        ImageSource::Autoencoder { vae, .. } if vae.likelihood() == nn::Likelihood::DiscretizedLogistic => {
            let prior = context.latents.clone().expect("an autoencoder has a distribution of latents");
            let elbo = ElboEstimator::new(ctx, vae, WEIGHTS, batch(IMAGES), "elbo")?.with_prior(prior);
            let ctx = &*ctx;
            let draws = Draws { per_image: options.likelihood_draws.unwrap_or(LATENTS), seed };
            Some((IMAGES, Box::new(move |images, progress| elbo.measure(ctx, images, draws, progress))))
        }
        ImageSource::Autoencoder { .. } | ImageSource::Images(..) => None,
    })
}
