//! Heun's method for the probability flow (Karras et al. 2022, algorithm 1), as diffusers'
//! HeunDiscreteScheduler: order 2, two stages per step.
//!
//! ```text
//! y_e = y + h d
//! y'  = y + h (d + d_e) / 2 = y_e - h d / 2 + h d_e / 2
//! ```
//!
//! in the solver coordinates of the process (y = x / scale, h the step of the coordinate, d the
//! slope). The last step, to the image, is Euler's.
//!
//! With churn (algorithm 2, S_min = 0, S_max infinite, S_noise = 1) each of n steps starts at
//! `t (1 + gamma)` with `gamma = min(churn / n, sqrt(2) - 1)`. That noise is added at the end of
//! the previous step, so the first step has none.

use super::probability_flow::SlopePoint;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Action, Sampler, SamplerOptions, StepSpec, Trajectory};
use crate::{Error, Result};
use std::f64::consts::SQRT_2;

/// Heun's method.
#[derive(Clone, Copy, Debug)]
pub struct Heun {
    churn: f64,
}

impl Heun {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &["churn"];

    pub(super) fn new(options: &SamplerOptions) -> Result<Heun> {
        let churn = options.churn.unwrap_or(0.0);
        if !(churn >= 0.0 && churn.is_finite()) {
            return Err(Error::Config(format!(
                "churn = {churn}: use 0 (no noise) or a positive number, up to about 80"
            )));
        }
        Ok(Heun { churn })
    }
}

impl Sampler for Heun {
    fn families(&self) -> &'static [Family] {
        &[Family::Discrete, Family::Sde, Family::Edm, Family::Flow]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        if self.churn > 0.0 && process.family() != Family::Edm {
            return Err(Error::Config(format!(
                "churn = {} is for EDM, and this model was trained with {}: leave it out",
                self.churn,
                process.describe()
            )));
        }
        let raise = 1.0 + (self.churn / f64::from(spec.steps)).min(SQRT_2 - 1.0);
        let times = process.timesteps(spec.steps);
        let mut stages = Vec::new();
        for (k, &t) in times.iter().enumerate() {
            let from = SlopePoint::new(process, if k == 0 { t } else { raise * t });
            let Some(&next) = times.get(k + 1) else {
                let image = process.image_coords();
                stages.push(from.step(&image, image.coordinate - from.coords.coordinate, 0.0));
                break;
            };
            let to = SlopePoint::new(process, next);
            let half = 0.5 * (to.coords.coordinate - from.coords.coordinate);
            stages.push(from.step_and_store(&to.coords, 2.0 * half, 0.0));
            let mut corrected = to.step(&to.coords, half, -half);
            if let Action::Move(update) = &mut corrected.action {
                update.z = next * (raise * raise - 1.0).sqrt();
            }
            stages.push(corrected);
        }
        Ok(Trajectory::Stages(stages))
    }
}
