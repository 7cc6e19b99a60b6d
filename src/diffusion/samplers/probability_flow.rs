//! Steps along the probability flow, shared by the Euler, Heun and midpoint methods.
//!
//! A step moves y = x / scale along the solver's coordinate c (see [`SolverCoords`]). The noise in
//! the slope dy/dc is eps = (x - alpha x_0) / sigma with the clipped x_0, so that clipping bounds
//! the slope too, as in d = (x - D) / sigma of Karras et al. 2022, algorithm 1.

use crate::diffusion::process::{Process, SolverCoords};
use crate::diffusion::sampler::{Action, Stage, Update};

/// A time at which the network is evaluated for the slope dy/dc.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlopePoint {
    pub time: f64,
    pub coords: SolverCoords,
    /// dy/dc = slope[0] x_0 + slope[1] x.
    slope: [f64; 2],
}

impl SlopePoint {
    pub fn new(process: &dyn Process, time: f64) -> SlopePoint {
        let (at, coords) = (process.marginal(time), process.solver_coords(time));
        let [x0, eps] = coords.slope;
        SlopePoint { time, coords, slope: [x0 - eps * at.alpha / at.sigma, eps / at.sigma] }
    }

    /// The stage from this point to `to`: x'/scale' = x/scale + own d + stored h, with the slope d
    /// at this point and the slope h that an earlier stage stored.
    pub fn step(&self, to: &SolverCoords, own: f64, stored: f64) -> Stage {
        let [x0, x] = self.slope.map(|weight| to.scale * own * weight);
        let update = Update { x0, x: to.scale / self.coords.scale + x, h: to.scale * stored, ..Update::default() };
        Stage { time: self.time, action: Action::Move(update) }
    }

    /// [`SlopePoint::step`] that also stores the slope d in h, after the use of the stored slope.
    pub fn step_and_store(&self, to: &SolverCoords, own: f64, stored: f64) -> Stage {
        let [x0, x] = self.slope;
        let mut stage = self.step(to, own, stored);
        if let Action::Move(update) = &mut stage.action {
            update.h_next = [x0, x, 0.0];
        }
        stage
    }
}
