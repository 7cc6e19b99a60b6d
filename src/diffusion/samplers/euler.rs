//! Euler's method for the probability flow (Karras et al. 2022, algorithm 1 without its
//! correction), as diffusers' EulerDiscreteScheduler.
//!
//! y' = y + (c' - c) dy/dc in the solver coordinates of the process (y = x / scale, c the
//! coordinate). The steps go through the process's timesteps and end at the image.

use super::probability_flow::SlopePoint;
use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Sampler, SamplerOptions, StepSpec, Trajectory};

/// Euler's method.
#[derive(Clone, Copy, Debug)]
pub struct Euler;

impl Euler {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &[];

    pub(super) fn new(_options: &SamplerOptions) -> Result<Euler> {
        Ok(Euler)
    }
}

impl Sampler for Euler {
    fn families(&self) -> &'static [Family] {
        &[Family::Discrete, Family::Sde, Family::Edm, Family::Flow]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let times = process.timesteps(spec.steps);
        let stage = |(k, &t): (usize, &f64)| {
            let from = SlopePoint::new(process, t);
            let to = times.get(k + 1).map_or_else(|| process.image_coords(), |&next| process.solver_coords(next));
            from.step(&to, to.coordinate - from.coords.coordinate, 0.0)
        };
        Ok(Trajectory::Stages(times.iter().enumerate().map(stage).collect()))
    }
}
