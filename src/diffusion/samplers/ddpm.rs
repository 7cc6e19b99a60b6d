//! Ancestral sampling (Ho et al. 2020, algorithm 2), as diffusers' DDPMScheduler except for the
//! last step.
//!
//! The mean is written with the predicted image (eq. 7), because the image can be clipped. With
//! alpha = abar_t / abar_p and beta = 1 - alpha, where p is the next timestep (abar_p = 1 after the
//! last):
//!
//! ```text
//! x' = sqrt(abar_p) beta / (1 - abar_t) x_0 + sqrt(alpha) (1 - abar_p) / (1 - abar_t) x + sigma z
//! ```
//!
//! The last step adds no noise, as in algorithm 2. diffusers adds noise at every timestep except 0.
//! The spacing `trailing` does not visit 0 with fewer steps than T, so diffusers adds noise there.

use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{
    Action, Sampler, SamplerOptions, Stage, StepSpec, Trajectory, Update, Variance, alpha_bar_at, discrete_timesteps,
    posterior_variance,
};

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
    fn families(&self) -> &'static [Family] {
        &[Family::Discrete]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let (noise, timesteps) = discrete_timesteps(process, spec)?;
        let stage = |(k, &t): (usize, &u32)| {
            let alpha_bar = alpha_bar_at(noise, Some(t));
            let alpha_bar_next = alpha_bar_at(noise, timesteps.get(k + 1).copied());
            let alpha = alpha_bar / alpha_bar_next;
            let x0 = alpha_bar_next.sqrt() * (1.0 - alpha) / (1.0 - alpha_bar);
            let x = alpha.sqrt() * (1.0 - alpha_bar_next) / (1.0 - alpha_bar);
            let (small, large) = (posterior_variance(alpha_bar, alpha_bar_next).max(1e-20), 1.0 - alpha);
            let scale = if k + 1 < timesteps.len() { 1.0 } else { 0.0 };
            let update = |std: f64| Update { x0, x, z: scale * std, ..Update::default() };
            let action = match self.variance {
                Variance::FixedSmall => Action::Move(update(small.sqrt())),
                Variance::FixedLarge => Action::Move(update(large.sqrt())),
                Variance::LearnedRange => {
                    Action::MoveLearned { update: update(1.0), log_variance: [large.ln(), small.ln()] }
                }
            };
            Stage { time: f64::from(t), action }
        };
        Ok(Trajectory::Stages(timesteps.iter().enumerate().map(stage).collect()))
    }

    fn warnings(&self, process: &dyn Process, times: &[f64]) -> Vec<String> {
        let steps = process.schedule().map_or(0, |noise| noise.timesteps());
        let few = self.variance == Variance::FixedLarge && times.len() < steps as usize;
        let warning = || {
            format!(
                "the variance `fixed_large` at {} of {steps} steps: it is meant for steps through all timesteps, so compare \
                 `fixed_small` and the sampler ddim",
                times.len()
            )
        };
        few.then(warning).into_iter().collect()
    }
}
