//! Code shared by the samplers of reverse stochastic differential equations: equal steps in time,
//! and steps along the score.

use crate::diffusion::process::{Marginal, Process};
use crate::diffusion::sampler::{Action, Stage, Update};

/// Start and end of each of `steps` equal steps in time, from noise to image.
pub(super) fn equal_steps(process: &dyn Process, steps: u32) -> impl Iterator<Item = [f64; 2]> {
    let [noise, image] = process.t_range();
    let at = move |k: u32| noise + (image - noise) * f64::from(k) / f64::from(steps);
    (0..steps).map(move |k| [at(k), at(k + 1)])
}

/// x' = c x + weight score + std z, with the score (alpha x_0 - x) / sigma² of the clipped image.
pub(super) fn along_score(time: f64, at: &Marginal, c: f64, weight: f64, std: f64) -> Stage {
    let per_x = weight / (at.sigma * at.sigma);
    let update = Update { x0: per_x * at.alpha, x: c - per_x, z: std, ..Update::default() };
    Stage { time, action: Action::Move(update) }
}
