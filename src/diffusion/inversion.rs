//! Inversion of DDIM: from an image to the noise from which DDIM would sample it (Song et al.
//! 2021a, section 4.3; Dhariwal and Nichol 2021, appendix F).

use super::plan::{SamplingPlan, StagePlan};
use super::process::Process;
use super::sampler::{Action, Stage, StepSpec, Update, discrete_timesteps};
use crate::{Error, Result};

/// The plan that turns images into noise. It visits the times of a deterministic sampler with
/// `spec.steps` steps in reverse order. Each step is x' = alpha' x_0 + sigma' eps, with x_0 and eps
/// predicted at the previous time. With discrete timesteps, the first step starts from the image:
/// x' = alpha' x + sigma' eps, with eps predicted at the first timestep. Other processes take the
/// image for one at their first time. Nothing is clipped, because clipping cannot be undone.
///
/// # Errors
/// [`Error::Config`] for a number of steps that the process does not have, and for fewer than 2.
pub fn plan(process: &dyn Process, spec: &StepSpec) -> Result<SamplingPlan> {
    let mut times: Vec<f64> = match process.schedule() {
        Some(_) => discrete_timesteps(process, spec)?.1.into_iter().map(f64::from).collect(),
        None => process.timesteps(spec.steps),
    };
    if times.len() < 2 {
        return Err(Error::Config(format!("--steps {}: an inversion needs at least 2 steps", times.len())));
    }
    times.reverse();
    let stage = |pair: &[f64]| {
        let next = process.marginal(pair[1]);
        let update = Update { x0: next.alpha, eps: next.sigma, ..Update::default() };
        Stage { time: pair[0], action: Action::Move(update) }
    };
    let first = process.schedule().map(|_| {
        let next = process.marginal(times[0]);
        let update = Update { x: next.alpha, eps: next.sigma, ..Update::default() };
        Stage { time: times[0], action: Action::Move(update) }
    });
    let stages = first.into_iter().chain(times.windows(2).map(stage)).collect();
    Ok(SamplingPlan::Stages(StagePlan::new(process, stages, f32::INFINITY)))
}
