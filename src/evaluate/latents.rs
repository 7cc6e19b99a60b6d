//! The distribution that an autoencoder's latents are drawn from, by the user's choice.

use super::options::EvalOptions;
use super::target::{EvalTarget, ImageSource, WEIGHTS};
use crate::Result;
use crate::diffusion::autoencoder::fitted_mixture;
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
    let normal = LatentPrior::Normal(vae.latent_channels() as usize);
    Ok(Some(match (options.latent_components, mixture) {
        (Some(0), _) | (None, None) => normal,
        (None, Some(mixture)) => LatentPrior::Mixture(mixture.clone()),
        (Some(count), _) => LatentPrior::Mixture(fitted_mixture(ctx, vae, WEIGHTS, &target.train, count)?),
    }))
}
