//! The distribution that an autoencoder's latents are drawn from, by the user's choice.

use super::options::EvalOptions;
use super::target::{EvalTarget, ImageSource, WEIGHTS};
use crate::Result;
use crate::diffusion::autoencoder::{TrainingImages, fitted_mixture};
use crate::diffusion::latent_prior::LatentPrior;
use crate::gpu::Context;

/// A mixture that is fitted now, N(0, 1), or what the checkpoint holds. `None` for a target without
/// latents. The target's weights are in the buffer [`WEIGHTS`].
pub(super) fn latent_prior(
    ctx: &mut Context,
    target: &EvalTarget,
    options: &EvalOptions,
) -> Result<Option<LatentPrior>> {
    let ImageSource::Autoencoder { vae, mixture, .. } = &target.source else { return Ok(None) };
    let mixture = match options.latent_components {
        None => mixture.clone(),
        Some(0) => None,
        Some(components) => {
            let images = TrainingImages { data: &target.train, count: target.train.count };
            Some(fitted_mixture(ctx, vae, WEIGHTS, images, components)?)
        }
    };
    Ok(Some(LatentPrior::new(vae.latent_channels(), mixture)))
}
