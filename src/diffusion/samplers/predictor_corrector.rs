//! Predictor-corrector sampling (Song et al. 2021b, algorithm 1 and appendices F and G): a Langevin
//! step at each time, then a reverse diffusion step to the next time.
//!
//! For a step to less noise (alpha', sigma'), the forward chain is x = F x' + G z with F = alpha /
//! alpha' and G² = sigma² - F² sigma'²:
//!
//! ```text
//! predictor  x' = (2 - F) x + G² score + G z              the last step adds no noise
//! corrector  a Langevin step of size 2 F² (r |z| / |score|)², r the signal-to-noise ratio
//! ```
//!
//! F is 1 in the variance exploding and sqrt(1 - beta) in the variance preserving equation, as in
//! algorithms 2 to 5. Langevin steps of finite size make the variance of x too large by the factor
//! 1 + r², for any number of steps.

use super::reverse_sde::{along_score, equal_steps};
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Action, Sampler, SamplerOptions, Stage, StepSpec, Trajectory};
use crate::{Error, Result};

/// Predictor-corrector sampling.
#[derive(Clone, Copy, Debug)]
pub struct PredictorCorrector {
    snr: f64,
}

impl PredictorCorrector {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &["snr"];

    pub(super) fn new(options: &SamplerOptions) -> Result<PredictorCorrector> {
        let snr = options.snr.unwrap_or(0.16);
        if !(snr > 0.0 && snr < 1.0) {
            return Err(Error::Config(format!("snr = {snr}: use a number between 0 and 1, usually 0.16")));
        }
        Ok(PredictorCorrector { snr })
    }
}

impl Sampler for PredictorCorrector {
    fn families(&self) -> &'static [Family] {
        &[Family::Sde]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let mut left = spec.steps;
        let stages = |[t, next]: [f64; 2]| -> [Stage; 2] {
            let (at, to) = (process.marginal(t), process.marginal(next));
            let factor = at.alpha / to.alpha;
            let variance = at.sigma * at.sigma - (factor * to.sigma).powi(2);
            left -= 1;
            let std = if left > 0 { variance.sqrt() } else { 0.0 };
            let correct = Action::Correct { rate: 2.0 * (factor * self.snr).powi(2) };
            [Stage { time: t, action: correct }, along_score(t, &at, 2.0 - factor, variance, std)]
        };
        Ok(Trajectory::Stages(equal_steps(process, spec.steps).flat_map(stages).collect()))
    }
}
