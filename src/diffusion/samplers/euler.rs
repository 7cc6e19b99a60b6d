//! Euler's method for the probability flow (Karras et al. 2022, algorithm 1 without its correction), as diffusers' EulerDiscreteScheduler.
//!
//! y' = y + (c' - c) dy/dc in the frames of the process (y = x/scale, c its coordinate), along its grid and at last to the image.

use super::frames::Point;
use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Sampler, SamplerOptions, Trajectory, StepSpec};

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
        let grid = process.grid(spec.steps);
        let stage = |(k, &t): (usize, &f64)| {
            let from = Point::at(process, t);
            let to = grid.get(k + 1).map_or_else(|| process.image_coords(), |&next| process.frame(next));
            from.step(&to, to.coordinate - from.frame.coordinate, 0.0)
        };
        Ok(Trajectory::Stages(grid.iter().enumerate().map(stage).collect()))
    }
}
