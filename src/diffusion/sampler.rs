//! The interface of a sampler: a list of stages. At each stage the network is evaluated once, and a
//! row of coefficients moves the state.
//!
//! A sampler can be implemented outside this crate: implement [`Sampler`] and call
//! [`SamplingPlan::new`](super::SamplingPlan::new).

use super::process::{Family, Process};
pub use super::sampler_options::{SamplerOptions, Variance};
use super::schedule::NoiseSchedule;
use super::spacing::Spacing;
use crate::{Error, Result};
use std::fmt::Debug;

/// How the state x moves at a stage, with the (clipped) predicted image x0, the predicted noise
/// eps, fresh noise z ~ N(0, 1) and the history h that an earlier stage stored. Each field is the
/// coefficient of its symbol:
///
/// ```text
/// x' = x0 · x_0 + x · x + eps · eps + z · z + h · h
/// h' = h_next · (x_0, x, eps)
/// ```
///
/// x' uses h, and h' uses x: a stage can use the history and replace it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Update {
    /// Coefficient of the predicted image.
    pub x0: f64,
    /// Coefficient of the state.
    pub x: f64,
    /// Coefficient of the predicted noise.
    pub eps: f64,
    /// Coefficient of fresh noise.
    pub z: f64,
    /// Coefficient of the history.
    pub h: f64,
    /// Coefficients of x_0, x and eps in the next history.
    pub h_next: [f64; 3],
}

/// How a stage uses the network's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Moves the state.
    Move(Update),
    /// Moves the state, with fresh noise of the variance that the network learned.
    MoveLearned {
        /// The update. Its `z` is 1 to add noise and 0 to add none.
        update: Update,
        /// Logarithms of the largest and the smallest variance that the network can choose.
        log_variance: [f64; 2],
    },
    /// A step of Langevin dynamics of size `rate` (|z| / |score|)² (Song et al. 2021b, algorithms 4
    /// and 5).
    Correct {
        /// 2 alpha r², for the signal-to-noise ratio r.
        rate: f64,
    },
}

/// One evaluation of the network, and the use of its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The time of the process.
    pub time: f64,
    /// The use of the output.
    pub action: Action,
}

/// A sampler applied to a process: fixed stages, or an equation for the adaptive solver.
#[derive(Clone, Debug, PartialEq)]
pub enum Trajectory {
    /// Fixed stages.
    Stages(Vec<Stage>),
    /// The probability flow dx/dt = alpha' x_0 + sigma' eps (Song et al. 2021b, eq. 13).
    Ode(OdeSpec),
}

/// An equation that the adaptive solver solves from noise to image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OdeSpec {
    /// First and last time: noise, image.
    pub t_range: [f64; 2],
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
}

/// Number and spacing of the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSpec {
    /// Number of steps.
    pub steps: u32,
    /// How the timesteps of a discrete process are chosen.
    pub spacing: Spacing,
    /// Added to the timesteps of [`Spacing::Leading`].
    pub offset: u32,
}

/// A method for sampling an image from noise.
pub trait Sampler: Debug {
    /// The supported kinds of processes.
    fn families(&self) -> &'static [Family];

    /// Computes the stages, or the equation, for a process.
    ///
    /// # Errors
    /// [`Error::Config`] for a number of steps that the process does not have.
    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory>;

    /// Warnings for the user about this sampler, with stages at these times.
    fn warnings(&self, _process: &dyn Process, _times: &[f64]) -> Vec<String> {
        vec![]
    }
}

/// The noise schedule of a discrete process and the timesteps of the sampler, largest first.
///
/// # Errors
/// As [`Spacing::timesteps`].
pub fn discrete_timesteps<'a>(process: &'a dyn Process, spec: &StepSpec) -> Result<(&'a NoiseSchedule, Vec<u32>)> {
    let Some(noise) = process.schedule() else {
        return Err(Error::Config(format!("{} has no discrete timesteps", process.describe())));
    };
    Ok((noise, spec.spacing.timesteps(spec.steps, noise.timesteps(), spec.offset)?))
}

/// abar at a timestep; 1 for `None`, which means the image.
pub(super) fn alpha_bar_at(noise: &NoiseSchedule, t: Option<u32>) -> f64 {
    t.map_or(1.0, |t| noise.alphas_cumprod()[t as usize])
}

/// Variance of x_p given x_t and x_0, from abar_t and abar_p (Ho et al. 2020, eq. 7; Song et al.
/// 2021a, eq. 16 with eta = 1).
pub(super) fn posterior_variance(alpha_bar: f64, alpha_bar_next: f64) -> f64 {
    (1.0 - alpha_bar_next) / (1.0 - alpha_bar) * (1.0 - alpha_bar / alpha_bar_next)
}
