//! Heun's method for the probability flow (Karras et al. 2022, algorithm 1), as diffusers' HeunDiscreteScheduler: two stages a step, of order 2.
//!
//! y_e = y + h d, then y' = y + h (d + d_e)/2 = y_e - h d/2 + h d_e/2, in the frames of the process (y = x/scale, h the step of its
//! coordinate, d the slope). The last step, to the image, is Euler's.
//!
//! With churn (algorithm 2, S_min = 0, S_max infinite, S_noise = 1) a step of n begins at t (1 + gamma), gamma = min(churn/n, sqrt(2) - 1). The
//! noise for that is added at the end of the step before, so that the first step, which has none before it, is made without.

use super::frames::Point;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Action, Sampler, SamplerOptions, Trajectory, StepSpec};
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
        let grid = process.grid(spec.steps);
        let mut stages = Vec::new();
        for (k, &t) in grid.iter().enumerate() {
            let from = Point::at(process, if k == 0 { t } else { raise * t });
            let Some(&next) = grid.get(k + 1) else {
                let image = process.image_coords();
                stages.push(from.step(&image, image.coordinate - from.frame.coordinate, 0.0));
                break;
            };
            let to = Point::at(process, next);
            let half = 0.5 * (to.frame.coordinate - from.frame.coordinate);
            stages.push(from.step_and_keep(&to.frame, 2.0 * half));
            let mut corrected = to.step(&to.frame, half, -half);
            if let Action::Move(update) = &mut corrected.action {
                update.fresh = next * (raise * raise - 1.0).sqrt();
            }
            stages.push(corrected);
        }
        Ok(Trajectory::Stages(stages))
    }
}
