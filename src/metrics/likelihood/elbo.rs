//! Likelihood bounds of a variational autoencoder in bits per dimension, both estimated with K
//! latents z_k ~ q(z | x) and weights w_k = p(x | z_k) p(z_k) / q(z_k | x):
//!
//! ```text
//! ELBO   -mean of log w_k   evidence lower bound (Kingma and Welling 2014, eq. 3)
//! IWAE   -log mean of w_k   importance-weighted bound, which is tighter (Burda et al. 2016, eq. 8)
//! ```

use super::{BitsPerDimension, Draws, LabeledImages};
use crate::diffusion::Scope;
use crate::diffusion::latent_prior::LatentPrior;
use crate::gpu::Context;
use crate::metrics::Estimate;
use crate::metrics::padding::pixel_value;
use crate::nn::{Likelihood, Model, Vae};
use crate::ops::{affine, discretized_logistic, reparameterize, split_channels};
use crate::output::counted;
use crate::ranks::divide;
use crate::tape::{Program, Shape, Step, record};
use crate::{Error, Result};
use std::f64::consts::{LN_2, TAU};

/// Measures the ELBO and the importance-weighted bound of an autoencoder.
pub struct ElboEstimator {
    program: Program,
    prior: LatentPrior,
    batch: usize,
    latent_channels: usize,
    pixels: usize,
    scope: Scope,
}

impl ElboEstimator {
    /// Records and compiles the bounds for a model whose weights are in the buffer `weights`. The
    /// names of its other buffers begin with `name`. The prior is N(0, 1).
    ///
    /// # Errors
    /// [`Error::Config`] for a model without probabilities of 256 pixel values.
    pub fn new(ctx: &mut Context, model: &Vae, weights: &str, batch: u32, name: &str) -> Result<ElboEstimator> {
        if model.likelihood() != Likelihood::DiscretizedLogistic {
            return Err(Error::Config(
                "an autoencoder with the likelihood bernoulli has no probabilities of 256 pixel values, so its bits \
                 per dimension cannot be measured: train with --likelihood discretized_logistic"
                    .into(),
            ));
        }
        let [channels, height, width] = model.image_shape();
        let scope = Scope::new(name);
        let named = |part: &str| scope.name(part);
        let (tape, ()) = record(ctx, |t| {
            let x = t.named(&named("x"), Shape::f32([batch, channels, height, width]));
            let weights = model.parameters().fixed(t, weights);
            let (mean, log_variance) = model.encode(t, &weights, x);
            let z = reparameterize(t, mean, log_variance);
            let output = model.decode(t, &weights, z);
            let [center, log_scale] = split_channels(t, output);
            let nats = discretized_logistic(t, center, log_scale, x);
            for (tensor, part) in [(mean, "mean"), (log_variance, "log_variance"), (z, "z"), (nats, "nats")] {
                // A copy, because the tensor may share its buffer with others.
                let copy = affine(t, tensor, 1.0, 0.0);
                t.keep(copy, &named(part));
            }
        })?;
        let program = Program::compile(ctx, &tape)?;
        let latent_channels = model.latent_channels() as usize;
        Ok(ElboEstimator {
            program,
            prior: LatentPrior::Normal(latent_channels),
            batch: batch as usize,
            latent_channels,
            pixels: (channels * height * width) as usize,
            scope,
        })
    }

    /// The bounds with another prior p(z).
    pub fn with_prior(self, prior: LatentPrior) -> ElboEstimator {
        ElboEstimator { prior, ..self }
    }

    /// Measures both bounds with `draws.per_image` latents per image. The total is the
    /// importance-weighted bound; the ELBO is its only part. Calls `progress` with the finished
    /// share.
    ///
    /// # Errors
    /// Errors of the device and of `progress`.
    ///
    /// # Panics
    /// If there are no images or no draws.
    pub fn measure(
        &self,
        ctx: &Context,
        images: LabeledImages<'_>,
        draws: Draws,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<BitsPerDimension> {
        assert!(draws.per_image > 0, "a bound needs at least one latent per image");
        let count = images.bytes.len() / self.pixels;
        let nats_to_bits = LN_2 * self.pixels as f64;
        let bounds = divide(&*ctx.ranks, count.div_ceil(self.batch), |piece| {
            let first = piece * self.batch;
            let size = self.batch.min(count - first);
            let x: Vec<f32> =
                images.bytes[first * self.pixels..][..size * self.pixels].iter().map(|&b| pixel_value(b)).collect();
            ctx.write(&self.scope.name("x"), 0, &x)?;
            let mut log_weights = vec![vec![]; size];
            for index in 0..draws.per_image {
                let step = Step { index, first_image: first as u32, ..Step::seeded(draws.seed) };
                self.program.run(ctx, &step)?;
                for (weights, weight) in log_weights.iter_mut().zip(self.read_log_weights(ctx, size)?) {
                    weights.push(weight);
                }
            }
            progress((first + size) as f64 / count as f64)?;
            let elbo = |weights: &[f64]| -weights.iter().sum::<f64>() / weights.len() as f64 / nats_to_bits;
            Ok(log_weights.iter().map(|w| [elbo(w), -log_mean_exp(w) / nats_to_bits]).collect())
        })?;
        let [elbo, weighted] = [0, 1].map(|bound| bounds.iter().map(|image| image[bound]).collect::<Vec<f64>>());
        let prior = match self.prior.components() {
            0 => String::new(),
            components => format!(", prior: mixture of {}", counted(components, "Gaussian")),
        };
        Ok(BitsPerDimension {
            method: format!("importance-weighted bound, {} latents{prior}", draws.per_image),
            images: count as u32,
            total: Estimate::from_values(&weighted),
            parts: vec![("ELBO".into(), Estimate::from_values(&elbo))],
        })
    }

    /// log p(x | z) + log p(z) - log q(z | x) of the latents that the program just drew.
    fn read_log_weights(&self, ctx: &Context, size: usize) -> Result<Vec<f64>> {
        let read = |part: &str, per_image: usize| -> Result<Vec<f32>> {
            ctx.read(&self.scope.name(part), 0, size * per_image)
        };
        let mean = read("mean", self.latent_channels)?;
        let log_variance = read("log_variance", self.latent_channels)?;
        let z = read("z", self.latent_channels)?;
        let nats = read("nats", 1)?;
        // log q(z | x) of one dimension.
        let posterior = |i: usize| {
            let [mean, log_variance, z] = [mean[i], log_variance[i], z[i]].map(f64::from);
            -0.5 * ((z - mean).powi(2) * (-log_variance).exp() + log_variance + TAU.ln())
        };
        let prior = self.prior.log_densities(&z);
        let image = |b: usize| {
            let latents = b * self.latent_channels..(b + 1) * self.latent_channels;
            prior[b] - f64::from(nats[b]) - latents.map(posterior).sum::<f64>()
        };
        Ok((0..size).map(image).collect())
    }
}

/// log of the mean of exp(x), without overflow.
fn log_mean_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + (x.iter().map(|x| (x - max).exp()).sum::<f64>() / x.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::log_mean_exp;

    #[test]
    fn log_mean_exp_averages_the_exponentials_without_overflow() {
        assert!((log_mean_exp(&[0.0, 3f64.ln()]) - 2f64.ln()).abs() < 1e-15, "the mean of 1 and 3");
        assert_eq!(log_mean_exp(&[-1e4; 50]), -1e4);
        assert!((log_mean_exp(&[-2000.0, -2000.0 - 60.0]) - (-2000.0 - 2f64.ln())).abs() < 1e-12);
    }
}
