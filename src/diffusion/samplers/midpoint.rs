//! The midpoint method for flow matching: order 2, two stages per step.
//!
//! ```text
//! x_m = x + h d / 2
//! x'  = x + h d_m = x_m - h d / 2 + h d_m
//! ```
//!
//! d and d_m are the velocities at the start and in the middle of the step.

use super::probability_flow::SlopePoint;
use crate::Result;
use crate::diffusion::process::{Family, Process};
use crate::diffusion::sampler::{Sampler, SamplerOptions, StepSpec, Trajectory};

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
        let times = process.timesteps(spec.steps);
        let image = process.t_range()[1];
        let step = |(k, &t): (usize, &f64)| {
            let next = times.get(k + 1).copied().unwrap_or(image);
            let (from, middle) = (SlopePoint::new(process, t), SlopePoint::new(process, 0.5 * (t + next)));
            let (half, to) = (middle.coords.coordinate - from.coords.coordinate, process.solver_coords(next));
            let whole = to.coordinate - from.coords.coordinate;
            [from.step_and_store(&middle.coords, half, 0.0), middle.step(&to, whole, -half)]
        };
        Ok(Trajectory::Stages(times.iter().enumerate().flat_map(step).collect()))
    }
}
