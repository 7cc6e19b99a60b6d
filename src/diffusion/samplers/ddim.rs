//! Implicit sampling, DDIM (Song et al. 2021a, eq. 12), as diffusers' DDIMScheduler.
//!
//! ```text
//! x' = sqrt(abar_p) x_0 + sqrt(1 - abar_p - sigma²) eps + sigma z
//! sigma = eta sqrt((1 - abar_p) / (1 - abar_t) (1 - abar_t / abar_p))        (eq. 16)
//! ```
//!
//! p is the timestep that is visited next, and the image after the last. (diffusers steps to t - T/n,
//! rounded down, which is the same for the spacing `leading`, and for `trailing` if n divides T.)
//! x_0 is clipped. eps is the network's, unless `use_clipped_model_output` is set: then eps = (x - sqrt(abar_t) x_0) / sqrt(1
//! - abar_t) with the clipped x_0.

use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{
    Action, Sampler, SamplerOptions, Stage, StepSpec, Trajectory, Update, alpha_bar_at, discrete_timesteps,
    posterior_variance,
};

/// Implicit sampling.
#[derive(Clone, Copy, Debug)]
pub struct Ddim {
    eta: f64,
    to_image: bool,
    from_clipped: bool,
}

impl Ddim {
    pub(super) const KEYS: &[&str] = &["set_alpha_to_one"];
    pub(super) const OPTIONS: &[&str] = &["eta", "set_alpha_to_one", "use_clipped_model_output"];

    pub(super) fn new(options: &SamplerOptions) -> Result<Ddim> {
        Ok(Ddim {
            eta: options.eta()?,
            to_image: options.set_alpha_to_one.unwrap_or(true),
            from_clipped: options.use_clipped_model_output.unwrap_or(false),
        })
    }
}

impl Sampler for Ddim {
    fn families(&self) -> &'static [Family] {
        &[Family::Discrete]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let (noise, timesteps) = discrete_timesteps(process, spec)?;
        let stage = |(k, &t): (usize, &u32)| {
            let next = timesteps.get(k + 1).copied();
            let next = if self.to_image { next } else { next.or(Some(0)) };
            let alpha_bar = alpha_bar_at(noise, Some(t));
            let alpha_bar_next = alpha_bar_at(noise, next);
            let z = self.eta * posterior_variance(alpha_bar, alpha_bar_next).max(0.0).sqrt();
            let x0 = alpha_bar_next.sqrt();
            let eps = (1.0 - alpha_bar_next - z * z).max(0.0).sqrt();
            let update = if self.from_clipped {
                let x = eps / (1.0 - alpha_bar).sqrt();
                Update { x0: x0 - x * alpha_bar.sqrt(), x, z, ..Update::default() }
            } else {
                Update { x0, eps, z, ..Update::default() }
            };
            Stage { time: f64::from(t), action: Action::Move(update) }
        };
        Ok(Trajectory::Stages(timesteps.iter().enumerate().map(stage).collect()))
    }
}
