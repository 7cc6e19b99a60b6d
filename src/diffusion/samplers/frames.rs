//! Steps along the frames of a process, of which Euler's, Heun's and the midpoint method are made.
//!
//! The noise in the slope is e = (x - alpha x_0) / sigma of the clipped image, so that clipping bounds the slope, as in d = (x - D)/sigma of
//! Karras et al. 2022, algorithm 1.

use crate::diffusion::process::{Process, SolverCoords};
use crate::diffusion::sampler::{Action, Stage, Update};

/// A time at which the slope is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub time: f64,
    pub frame: SolverCoords,
    /// The slope is slope[0] x_0 + slope[1] x.
    slope: [f64; 2],
}

impl Point {
    pub fn at(process: &dyn Process, time: f64) -> Point {
        let (at, frame) = (process.marginal(time), process.frame(time));
        let [image, noise] = frame.slope;
        Point { time, frame, slope: [image - noise * at.alpha / at.sigma, noise / at.sigma] }
    }

    /// A stage here that leads to a frame: x'/s' = x/s + own d + kept h, for the slope d found here and the one h that was kept before.
    pub fn step(&self, to: &SolverCoords, own: f64, kept: f64) -> Stage {
        let [image, state] = self.slope.map(|weight| to.scale * own * weight);
        let update =
            Update { image, state: to.scale / self.frame.scale + state, kept: to.scale * kept, ..Update::default() };
        Stage { time: self.time, action: Action::Move(update) }
    }

    /// The same, and the slope found here is kept.
    pub fn step_and_keep(&self, to: &SolverCoords, own: f64) -> Stage {
        let [image, state] = self.slope;
        let mut stage = self.step(to, own, 0.0);
        if let Action::Move(update) = &mut stage.action {
            update.keep = [image, state, 0.0];
        }
        stage
    }
}
