//! Autoencoding: the negative evidence lower bound of a variational autoencoder (Kingma and Welling
//! 2014, eq. 3), in nats per pixel, with a weight on the divergence (Higgins et al. 2017).

use crate::Result;
use crate::diffusion::autoencoder::{Decoder, TrainingImages, fitted_mixture};
use crate::diffusion::latent_prior::{LatentPrior, Mixture};
use crate::error::check_stop;
use crate::gpu::Context;
use crate::metrics::likelihood::Draws;
use crate::metrics::likelihood::elbo::ElboEstimator;
use crate::nn::{Likelihood, Model, Vae, Weights};
use crate::ops::{
    add, affine, bce_with_logits, discretized_logistic, kl_normal, random_timesteps, reparameterize, split_channels,
};
use crate::output::Images;
use crate::tape::Tape;
use crate::train::config::Config;
use crate::train::objective::{Batch, BitsPerDim, Generative, LikelihoodRequest, Loss, Objective, SampleRequest};

/// Trains a variational autoencoder.
#[derive(Debug)]
pub struct Autoencode {
    /// The autoencoder.
    pub model: Vae,
    /// Weight of the divergence; 1 gives the bound itself.
    pub kl_weight: f32,
    /// Components of the mixture that samples draw their latents from; 0 for N(0, 1).
    pub latent_components: u32,
}

impl Objective for Autoencode {
    fn model(&self) -> &dyn Model {
        &self.model
    }

    fn describe(&self) -> String {
        format!("variational autoencoder, weight of the divergence {}", self.kl_weight)
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let [_, channels, height, width]: [u32; 4] = t.shape(batch.images).as_array();
        let (mean, log_variance) = self.model.encode(t, weights, batch.images);
        let z = reparameterize(t, mean, log_variance);
        let output = self.model.decode(t, weights, z);
        let reconstruction = match self.model.config().likelihood {
            Likelihood::Bernoulli => bce_with_logits(t, output, batch.images),
            Likelihood::DiscretizedLogistic => {
                let [mean, log_scale] = split_channels(t, output);
                discretized_logistic(t, mean, log_scale, batch.images)
            }
        };
        let divergence = kl_normal(t, mean, log_variance);
        let per_pixel = 1.0 / (channels * height * width) as f32;
        let reconstruction = affine(t, reconstruction, per_pixel, 0.0);
        let divergence = affine(t, divergence, self.kl_weight * per_pixel, 0.0);
        let loss = add(t, reconstruction, divergence);
        // There is only one training time.
        let time = random_timesteps(t, batch.part, 1);
        Loss { loss, time, weights: None }
    }

    fn generative(&self) -> Option<&dyn Generative> {
        Some(self)
    }

    fn bits_per_dim(&self) -> Option<&dyn BitsPerDim> {
        if self.model.likelihood() == Likelihood::DiscretizedLogistic { Some(self) } else { None }
    }
}

impl Generative for Autoencode {
    /// Decodes latents from the request's mixture, or from N(0, 1). The images are the decoder's
    /// means, without pixel noise.
    fn sample(&self, ctx: &mut Context, config: &Config, request: &SampleRequest<'_>) -> Result<Vec<Images<'static>>> {
        let count = request.labels.len();
        let decoder = Decoder::new(ctx, &self.model, request.weights, count as u32, request.name)?;
        let prior = LatentPrior::new(self.model.latent_channels(), request.latents.cloned());
        let images = decoder.draw(ctx, &prior, config.seed, request.first..request.first + count as u32)?;
        let [channels, height, width] = self.model.image_shape().map(|n| n as usize);
        Ok(vec![Images::from_f32(&images, [count, channels, height, width])])
    }

    fn latent_components(&self) -> u32 {
        self.latent_components
    }

    fn fit_latents(&self, ctx: &mut Context, weights: &str, images: TrainingImages<'_>) -> Result<Mixture> {
        // A component needs two latents.
        let components = self.latent_components.min(images.used() / 2).max(1);
        fitted_mixture(ctx, &self.model, weights, images, components)
    }
}

impl BitsPerDim for Autoencode {
    /// The evidence lower bound, with one latent per image.
    fn measure(&self, ctx: &mut Context, config: &Config, request: &LikelihoodRequest<'_>) -> Result<f64> {
        let elbo = ElboEstimator::new(ctx, &self.model, request.weights, config.batch, "evaluation.elbo")?;
        let draws = Draws { per_image: 1, seed: config.seed };
        Ok(elbo.measure(ctx, request.images, draws, &mut |_| check_stop(request.stop))?.total.value)
    }
}
