//! The midpoint method for flow matching: two stages a step, of order 2.
//!
//! x_m = x + h d/2, then x' = x + h d_m = x_m - h d/2 + h d_m, d and d_m being the velocities at the beginning and in the middle of the step.

use super::frames::Point;
use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Sampler, SamplerOptions, Trajectory, StepSpec};

/// The midpoint method.
#[derive(Clone, Copy, Debug)]
pub struct Midpoint;

impl Midpoint {
    pub(super) const KEYS: &[&str] = &[];
    pub(super) const OPTIONS: &[&str] = &[];

    pub(super) fn new(_options: &SamplerOptions) -> Result<Midpoint> {
        Ok(Midpoint)
    }
}

impl Sampler for Midpoint {
    fn families(&self) -> &'static [Family] {
        &[Family::Flow]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let grid = process.grid(spec.steps);
        let image = process.span()[1];
        let step = |(k, &t): (usize, &f64)| {
            let next = grid.get(k + 1).copied().unwrap_or(image);
            let (from, middle) = (Point::at(process, t), Point::at(process, 0.5 * (t + next)));
            let (half, to) = (middle.frame.coordinate - from.frame.coordinate, process.frame(next));
            let whole = to.coordinate - from.frame.coordinate;
            [from.step_and_keep(&middle.frame, half), middle.step(&to, whole, -half)]
        };
        Ok(Trajectory::Stages(grid.iter().enumerate().flat_map(step).collect()))
    }
}
