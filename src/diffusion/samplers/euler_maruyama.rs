//! The Euler-Maruyama method for the reverse equation dx = (f x - g² score) dt + g dw (Song et al.
//! 2021b, eq. 6).
//!
//! x' = (1 - f h) x + g² h score + g sqrt(h) z, in equal steps h of time. The last step adds no
//! noise.

use super::reverse_sde::{along_score, equal_steps};
use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Sampler, SamplerOptions, Stage, StepSpec, Trajectory};

/// The Euler-Maruyama method.
#[derive(Clone, Copy, Debug)]
pub struct EulerMaruyama;

impl EulerMaruyama {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &[];

    pub(super) fn new(_options: &SamplerOptions) -> Result<EulerMaruyama> {
        Ok(EulerMaruyama)
    }
}

impl Sampler for EulerMaruyama {
    fn families(&self) -> &'static [Family] {
        &[Family::Sde]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let mut left = spec.steps;
        let stage = |[t, next]: [f64; 2]| -> Stage {
            let (at, step) = (process.marginal(t), t - next);
            left -= 1;
            let variance = at.diffusion() * step;
            let std = if left > 0 { variance.sqrt() } else { 0.0 };
            along_score(t, &at, 1.0 - at.drift() * step, variance, std)
        };
        Ok(Trajectory::Stages(equal_steps(process, spec.steps).map(stage).collect()))
    }
}
