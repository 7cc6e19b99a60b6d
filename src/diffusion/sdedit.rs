//! SDEdit: noises given images to the start of a sampler's step, and runs the sampler from there
//! (Meng et al. 2022, section 3).
//!
//! ```text
//! x_t = alpha(t) x_0 + sigma(t) eps
//! ```

use super::interpolation::initial_noise;
use super::plan::{SamplingPlan, StagePlan};
use super::prior::late_start_warning;
use super::process::{Marginal, Process};
use super::sampler::{Action, Stage, Update};
use super::samplers::SamplerName;
use super::sampling::Sampling;
use crate::output::counted;
use crate::{Error, Result};
use std::ops::Range;

/// The last steps of a sampler.
#[derive(Clone, Debug)]
pub struct LastSteps {
    /// The plan of these steps. It starts from images with the noise of the first step's time.
    pub plan: SamplingPlan,
    /// The steps, `[n]`, most noise first.
    pub steps: Vec<Step>,
    /// Number of steps of the whole sampler.
    pub of: u32,
}

/// The start of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Number of its first stage in the plan.
    pub stage: u32,
    /// The time of the process.
    pub time: f64,
    /// The process at this time.
    pub at: Marginal,
}

/// The last `strength` (above 0, at most 1) of the steps of a sampler, rounded to whole steps, with
/// warnings for the user. `strength` has its meaning in diffusers' image-to-image pipelines, which
/// round down.
///
/// The first of these steps does not use the history of the steps that are left out: DPM-Solver++
/// (2M) starts with a step of order one, as at the start of sampling. A stage that uses the history
/// starts a step only if it also replaces the history, as each step of a multistep method does.
/// Otherwise it is a later stage of a step, as in Heun's method.
///
/// # Errors
/// [`Error::Config`] for a strength out of range or of no step, for the adaptive solver, which has
/// no steps to leave out, and the errors of [`Sampling::plan`].
pub fn last_steps(process: &dyn Process, sampling: &Sampling, strength: f64) -> Result<(LastSteps, Vec<String>)> {
    if !(strength > 0.0 && strength <= 1.0) {
        return Err(Error::Config(format!("--strength {strength}: use a number above 0, and at most 1")));
    }
    let (plan, mut warnings) = sampling.plan(process)?;
    let Some(plan) = plan.fixed() else {
        return Err(Error::Config(format!(
            "the sampler {} chooses its own steps, so none can be left out: use --sampler with one of {}",
            sampling.sampler.name(),
            with_fixed_steps(process).join(", ")
        )));
    };
    // Sampling does not start from pure noise.
    let late_start = plan.stages.first().and_then(|first| late_start_warning(process, first.time, sampling.data));
    warnings.retain(|warning| Some(warning) != late_start.as_ref());

    let starts: Vec<usize> = (0..plan.stages.len()).filter(|&stage| starts_step(&plan.stages, stage)).collect();
    let of = starts.len();
    let run = (strength * of as f64).round() as usize;
    if run == 0 {
        return Err(Error::Config(format!(
            "--strength {strength} of {} is less than one step: use at least {:.4}, or more --steps",
            counted(of, "step"),
            1.0 / of as f64
        )));
    }
    let starts = &starts[of - run..];
    let mut stages = plan.stages[starts[0]..].to_vec();
    stages[0] = without_history(stages[0]);
    let step = |&start: &usize| {
        let time = plan.stages[start].time;
        Step { stage: (start - starts[0]) as u32, time, at: process.marginal(time) }
    };
    let steps = starts.iter().map(step).collect();
    let plan = SamplingPlan::Stages(StagePlan::new(process, stages, plan.clip));
    Ok((LastSteps { plan, steps, of: of as u32 }, warnings))
}

/// Images with the noise of a time: x_t = alpha x_0 + sigma eps, `[N, C, H, W]`. `numbers` has one
/// number per image: eps of image k is the initial noise of image k of the seed.
///
/// # Panics
/// If the numbers do not divide the images.
#[track_caller]
pub fn noised(images: &[f32], at: &Marginal, seed: u64, numbers: Range<u32>) -> Vec<f32> {
    let count = numbers.len();
    assert!(count > 0 && images.len().is_multiple_of(count), "{} values of {count} images", images.len());
    let pixels = images.len() / count;
    let eps = numbers.flat_map(|number| initial_noise(seed, number, pixels));
    let noised = |(&x0, eps): (&f32, f32)| (at.alpha * f64::from(x0) + at.sigma * f64::from(eps)) as f32;
    images.iter().zip(eps).map(noised).collect()
}

/// Whether a stage is the first of a step: see [`last_steps`]. A Langevin correction belongs to the
/// step of the next move.
fn starts_step(stages: &[Stage], stage: usize) -> bool {
    let corrected = stage.checked_sub(1).is_some_and(|before| matches!(stages[before].action, Action::Correct { .. }));
    let first = match stages[stage].action {
        Action::Move(update) => update.h == 0.0 || update.h_next != [0.0; 3],
        Action::MoveLearned { .. } | Action::Correct { .. } => true,
    };
    first && !corrected
}

/// The stage of a multistep method without a history: what the stage itself stores takes the place
/// of the history. The step is then the one of the method of order one.
fn without_history(stage: Stage) -> Stage {
    let Action::Move(update) = stage.action else { return stage };
    let [x0, x, eps] = update.h_next.map(|weight| update.h * weight);
    let update = Update { x0: update.x0 + x0, x: update.x + x, eps: update.eps + eps, h: 0.0, ..update };
    Stage { action: Action::Move(update), ..stage }
}

/// Names of the samplers with fixed steps for a process.
fn with_fixed_steps(process: &dyn Process) -> Vec<&'static str> {
    let fits = |name: &&SamplerName| {
        let built = name.build(&Default::default());
        **name != SamplerName::Ode && built.is_ok_and(|sampler| sampler.families().contains(&process.family()))
    };
    SamplerName::ALL.iter().filter(fits).map(|name| name.name()).collect()
}
