//! Reconstructing through a latent: the negative evidence lower bound of a variational autoencoder (Kingma and Welling 2014, eq. 3), in nats
//! a pixel, with a weight on the divergence (Higgins et al. 2017).

use crate::Result;
use crate::diffusion::autoencoder::Decoder;
use crate::gpu::Context;
use crate::metrics::likelihood::elbo::ElboEstimator;
use crate::metrics::likelihood::{Draws, LabeledImages};
use crate::nn::{Likelihood, Model, Vae, Weights};
use crate::ops::{
    add, affine, bce_with_logits, discretized_logistic, kl_normal, random_timesteps, reparameterize, slice,
};
use crate::tape::Tape;
use crate::train::objective::{Batch, Drawing, Loss, Objective, Tables};
use crate::train::settings::Config;

/// Reconstructing.
#[derive(Debug)]
pub struct Reconstruct {
    /// The autoencoder.
    pub model: Vae,
    /// Weight of the divergence; 1 is the bound itself.
    pub kl_weight: f32,
}

impl Objective for Reconstruct {
    fn model(&self) -> &dyn Model {
        &self.model
    }

    fn describe(&self) -> String {
        format!("variational autoencoder, weight of the divergence {}", self.kl_weight)
    }

    fn times(&self) -> u32 {
        1
    }

    fn constants(&self) -> Tables {
        vec![]
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let [count, channels, height, width]: [u32; 4] = t.shape(batch.images).as_array();
        let (mean, log_variance) = self.model.encode(t, weights, batch.images);
        let z = reparameterize(t, mean, log_variance);
        let out = self.model.decode(t, weights, z);
        let reconstruction = match self.model.config().likelihood {
            Likelihood::Bernoulli => bce_with_logits(t, out, batch.images),
            Likelihood::DiscretizedLogistic => {
                let mean = slice(t, out, 0, channels);
                let log_scale = slice(t, out, channels, channels);
                discretized_logistic(t, mean, log_scale, batch.images)
            }
        };
        let divergence = kl_normal(t, mean, log_variance);
        let per_pixel = 1.0 / (channels * height * width) as f32;
        let reconstruction = affine(t, reconstruction, per_pixel, 0.0);
        let divergence = affine(t, divergence, self.kl_weight * per_pixel, 0.0);
        let loss = add(t, reconstruction, divergence);
        // There is one time.
        let time = random_timesteps(t, count, 1);
        Loss { loss, time, weights: None }
    }

    /// Images of latents drawn from the prior N(0, 1): what the decoder expects, not noisy pixels.
    fn draw(
        &self,
        ctx: &mut Context,
        config: &Config,
        drawing: &Drawing<'_>,
    ) -> Result<Option<Vec<crate::output::Images<'static>>>> {
        let count = drawing.labels.len() as u32;
        let decoder = Decoder::new(ctx, &self.model, drawing.slab, count, drawing.name)?;
        let images = decoder.draw(ctx, config.seed, drawing.first..drawing.first + count)?;
        let [channels, height, width] = self.model.image_shape().map(|n| n as usize);
        Ok(Some(vec![crate::output::Images::from_f32(&images, [drawing.labels.len(), channels, height, width])]))
    }

    /// The evidence lower bound, of one latent for each image.
    fn bits(&self, ctx: &mut Context, images: LabeledImages<'_>, slab: &str, config: &Config) -> Result<Option<f64>> {
        if self.model.likelihood() != Likelihood::DiscretizedLogistic {
            return Ok(None);
        }
        let elbo = ElboEstimator::new(ctx, &self.model, slab, config.batch, "evaluation.elbo")?;
        Ok(Some(elbo.measure(ctx, images, Draws { per_image: 1, seed: config.seed }, &mut |_| Ok(()))?.total.value))
    }
}
