//! Ancestral sampling (Ho et al. 2020, algorithm 2), as diffusers' DDPMScheduler.
//!
//! In the form of the posterior mean (eq. 7) of the predicted image, which can be clipped; the noise form of algorithm 2 cannot.
//! With alpha = abar_t/abar_p and beta = 1 - alpha, p being the time step visited next (nothing but image after the last):
//! x' = sqrt(abar_p) beta/(1 - abar_t) x_0 + sqrt(alpha) (1 - abar_p)/(1 - abar_t) x + sigma z

use crate::Result;
use crate::diffusion::sampler::{Place, Sampler, SamplerOptions, Variance, bar_at, late_start, posterior_variance};
use crate::diffusion::schedule::NoiseSchedule;

/// Ancestral sampling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ddpm {
    /// Variance of the noise.
    pub variance: Variance,
}

impl Ddpm {
    pub(super) const KEYS: &[&str] = &["variance_type"];
    pub(super) const OPTIONS: &[&str] = Self::KEYS;

    pub(super) fn new(options: &SamplerOptions) -> Result<Ddpm> {
        Ok(Ddpm { variance: options.variance_type.unwrap_or_default() })
    }
}

impl Sampler for Ddpm {
    fn update(&self, noise: &NoiseSchedule, place: Place) -> [f64; 4] {
        let (bar, bar_next) = (bar_at(noise, Some(place.t)), bar_at(noise, place.next));
        let alpha = bar / bar_next;
        let image = bar_next.sqrt() * (1.0 - alpha) / (1.0 - bar);
        let current = alpha.sqrt() * (1.0 - bar_next) / (1.0 - bar);
        let variance = match self.variance {
            Variance::FixedSmall => posterior_variance(bar, bar_next).max(1e-20),
            Variance::FixedLarge => 1.0 - alpha,
        };
        // After time step 0 there is no noise; after another last one there is, as in diffusers.
        [image, current, 0.0, if place.t > 0 { variance.sqrt() } else { 0.0 }]
    }

    fn warnings(&self, noise: &NoiseSchedule, timesteps: &[u32]) -> Vec<String> {
        let few = self.variance == Variance::FixedLarge && timesteps.len() < noise.steps() as usize;
        let warning = || {
            format!(
                "the variance `fixed_large` at {} of {} steps leaves noise in the images: use `fixed_small`, or the sampler ddim",
                timesteps.len(),
                noise.steps()
            )
        };
        late_start(noise, timesteps).into_iter().chain(few.then(warning)).collect()
    }
}
