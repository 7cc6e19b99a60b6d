//! The code of a variational autoencoder, in bits a dimension: the evidence lower bound (Kingma and Welling 2014, eq. 3), and the tighter bound of
//! K weighted samples, log mean of p(x | z) p(z) / q(z | x) over z ~ q(z | x) (Burda et al. 2016, eq. 8).

use super::Bits;
use crate::gpu::Context;
use crate::metrics::Estimate;
use crate::metrics::likelihood::vlb::Images;
use crate::metrics::padding::scaled;
use crate::nn::{Likelihood, Model, Vae};
use crate::ops::{affine, discretized_logistic, reparameterize, slice};
use crate::tape::{Program, Shape, Step, Tape};
use crate::{Error, Result};
use std::f64::consts::LN_2;

/// The bounds of an autoencoder, ready to be measured.
pub struct Elbo {
    program: Program,
    batch: usize,
    latent: usize,
    pixels: usize,
    name: String,
}

impl Elbo {
    /// Records and compiles it for a model whose weights lie in the memory `slab`. Its own memory begins with `name`.
    ///
    /// # Errors
    /// A likelihood that is none of 256 values, and the device's.
    pub fn new(ctx: &mut Context, model: &Vae, slab: &str, batch: u32, name: &str) -> Result<Elbo> {
        if model.likelihood() != Likelihood::DiscretizedLogistic {
            return Err(Error::Config(
                "an autoencoder with the likelihood bernoulli has no probability of 256 values a pixel, so no bits a dimension: train with \
                 --likelihood discretized_logistic"
                    .into(),
            ));
        }
        let [channels, height, width] = model.image_shape();
        let named = |part: &str| format!("{name}.{part}");
        let mut tape = Tape::new(ctx.target());
        let t = &mut tape;
        let x = t.named(&named("x"), Shape::f32([batch, channels, height, width]));
        let weights = model.parameters().fixed(t, slab);
        let (mean, log_variance) = model.encode(t, &weights, x);
        let z = reparameterize(t, mean, log_variance);
        let out = model.decode(t, &weights, z);
        let [centre, log_scale] = [0, channels].map(|from| slice(t, out, from, channels));
        let nats = discretized_logistic(t, centre, log_scale, x);
        for (tensor, part) in [(mean, "mean"), (log_variance, "log_variance"), (z, "z"), (nats, "nats")] {
            // A copy, in memory of its own whatever the tensor shares.
            let kept = affine(t, tensor, 1.0, 0.0);
            t.keep(kept, &named(part));
        }
        let program = Program::compile(ctx, &tape)?;
        let (latent, pixels) = (model.latent_channels() as usize, (channels * height * width) as usize);
        Ok(Elbo { program, batch: batch as usize, latent, pixels, name: name.into() })
    }

    /// Both bounds of images, each with `samples` latents: the total is the tighter one.
    ///
    /// # Errors
    /// The device's, and those of `progress`, which is called with the share that is done.
    ///
    /// # Panics
    /// Without images or samples.
    pub fn measure(
        &self,
        ctx: &Context,
        images: Images<'_>,
        samples: u32,
        seed: u64,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Bits> {
        assert!(samples > 0, "a bound of no samples");
        let count = images.bytes.len() / self.pixels;
        let per_dimension = LN_2 * self.pixels as f64;
        let (mut lower, mut weighted) = (vec![], vec![]);
        for first in (0..count).step_by(self.batch) {
            let taken = self.batch.min(count - first);
            let x: Vec<f32> =
                images.bytes[first * self.pixels..][..taken * self.pixels].iter().map(|&b| scaled(b)).collect();
            ctx.write(&format!("{}.x", self.name), 0, &x)?;
            let mut logarithms = vec![vec![]; taken];
            for index in 0..samples {
                let (seed_low, seed_high) = (seed as u32, (seed >> 32) as u32);
                self.program
                    .run(ctx, &Step { seed_low, seed_high, index, first_image: first as u32, ..Step::default() })?;
                for (weights, weight) in logarithms.iter_mut().zip(self.log_weights(ctx, taken)?) {
                    weights.push(weight);
                }
            }
            for weights in &logarithms {
                lower.push(-weights.iter().sum::<f64>() / weights.len() as f64 / per_dimension);
                weighted.push(-log_mean_exp(weights) / per_dimension);
            }
            progress((first + taken) as f64 / count as f64)?;
        }
        Ok(Bits {
            what: format!("importance-weighted bound of {samples} samples"),
            images: count as u32,
            total: Estimate::of(&weighted),
            parts: vec![("ELBO".into(), Estimate::of(&lower))],
        })
    }

    /// log p(x | z) + log p(z) - log q(z | x) of the latents that were just drawn.
    fn log_weights(&self, ctx: &Context, taken: usize) -> Result<Vec<f64>> {
        let read = |part: &str, each: usize| -> Result<Vec<f32>> {
            ctx.read(&format!("{}.{part}", self.name), 0, taken * each)
        };
        let (mean, log_variance, z) =
            (read("mean", self.latent)?, read("log_variance", self.latent)?, read("z", self.latent)?);
        let nats = read("nats", 1)?;
        let prior_to_posterior = |i: usize| {
            let [mean, log_variance, z] = [mean[i], log_variance[i], z[i]].map(f64::from);
            0.5 * ((z - mean).powi(2) * (-log_variance).exp() + log_variance - z * z)
        };
        let image = |b: usize| {
            -f64::from(nats[b]) + (b * self.latent..(b + 1) * self.latent).map(prior_to_posterior).sum::<f64>()
        };
        Ok((0..taken).map(image).collect())
    }
}

/// log of the mean of exp(x), without overflow.
fn log_mean_exp(x: &[f64]) -> f64 {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + (x.iter().map(|x| (x - most).exp()).sum::<f64>() / x.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::log_mean_exp;

    #[test]
    fn the_mean_is_of_the_weights_and_not_of_their_logarithms() {
        assert!((log_mean_exp(&[0.0, 3f64.ln()]) - 2f64.ln()).abs() < 1e-15, "the mean of 1 and 3");
        assert_eq!(log_mean_exp(&[-1e4; 50]), -1e4);
        assert!((log_mean_exp(&[-2000.0, -2000.0 - 60.0]) - (-2000.0 - 2f64.ln())).abs() < 1e-12);
    }
}
