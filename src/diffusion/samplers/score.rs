//! Steps along the score, of which the samplers of reverse stochastic differential equations are made.

use crate::diffusion::process::{Marginal, Process};
use crate::diffusion::sampler::{Action, Stage, Update};

/// The beginnings and ends of equal steps of time from noise to image.
pub(super) fn equal_steps(process: &dyn Process, steps: u32) -> impl Iterator<Item = [f64; 2]> {
    let [noise, image] = process.span();
    let at = move |k: u32| noise + (image - noise) * f64::from(k) / f64::from(steps);
    (0..steps).map(move |k| [at(k), at(k + 1)])
}

/// x' = state x + weight · score + fresh z at a time, with the score of the clipped image: (alpha x_0 - x) / sigma².
pub(super) fn along_score(time: f64, at: &Marginal, state: f64, weight: f64, fresh: f64) -> Stage {
    let per_state = weight / (at.sigma * at.sigma);
    let update = Update { image: per_state * at.alpha, state: state - per_state, fresh, ..Update::default() };
    Stage { time, action: Action::Move(update) }
}
