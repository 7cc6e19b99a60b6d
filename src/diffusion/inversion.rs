//! The way back: an image to the noise that DDIM would make it of (Song et al. 2021a, section 4.3; Dhariwal and Nichol 2021, appendix F).

use super::process::Process;
use super::sampler::{Action, SamplingPlan, Stage, StepSpec, Update, assemble, discrete_timesteps};
use crate::Result;

/// The plan that turns images into noise: through the times of a deterministic sampler of `spec.steps` steps in reverse, at each of them
/// the predicted image and noise being those of the next time too. Nothing is clipped, or the way would not lead back.
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
    Ok(assemble(process, times.windows(2).map(stage).collect(), None, f32::INFINITY))
}
