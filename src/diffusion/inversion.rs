//! Inversion of DDIM: from an image to the noise from which DDIM would sample it (Song et al.
//! 2021a, section 4.3; Dhariwal and Nichol 2021, appendix F).

use super::plan::{SamplingPlan, StagePlan};
use super::process::Process;
use super::sampler::{Action, Stage, StepSpec, Update, discrete_timesteps};
use crate::Result;

/// The plan that turns images into noise: x' = alpha' x_0 + sigma' eps through the times of a
/// deterministic sampler of `spec.steps` steps in reverse, with x_0 and eps of the time before.
/// Nothing is clipped, because clipping cannot be undone.
///
/// # Errors
/// A number of steps that the process does not have.
pub fn plan(process: &dyn Process, spec: &StepSpec) -> Result<SamplingPlan> {
    let mut times: Vec<f64> = match process.schedule() {
        Some(_) => discrete_timesteps(process, spec)?.1.into_iter().map(f64::from).collect(),
        None => process.timesteps(spec.steps),
    };
    times.reverse();
    let stage = |pair: &[f64]| {
        let next = process.marginal(pair[1]);
        let update = Update { x0: next.alpha, eps: next.sigma, ..Update::default() };
        Stage { time: pair[0], action: Action::Move(update) }
    };
    let stages = times.windows(2).map(stage).collect();
    Ok(SamplingPlan::Stages(StagePlan::new(process, stages, f32::INFINITY)))
}
