//! Flow matching: the straight path x_t = (1 - t) x_0 + t eps (Lipman et al. 2023, eq. 22 with
//! sigma_min = 0; Liu et al. 2023).
//!
//! The network predicts the velocity dx/dt = eps - x_0. Time runs from image (0) to noise (1), as
//! in every process of this crate and opposite to the papers.

use super::middles;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process, SolverCoords};
use serde::{Deserialize, Serialize};

/// Factor from the time t to the time that the network receives: the index of a timestep if T were
/// 1000.
const TIME_FACTOR: f64 = 999.0;

/// Flow matching on straight paths.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flow {
    /// The network receives the time t times this factor. Models that were not written by degrain
    /// usually have 1000.
    #[serde(skip_serializing_if = "is_usual")]
    pub time_factor: f64,
}

impl Default for Flow {
    fn default() -> Flow {
        Flow { time_factor: TIME_FACTOR }
    }
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_usual(factor: &f64) -> bool {
    *factor == TIME_FACTOR
}

impl Flow {
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        if self.time_factor > 0.0 && self.time_factor.is_finite() {
            return Ok(());
        }
        Err(format!("time_factor = {}: use a positive number, usually {TIME_FACTOR}", self.time_factor))
    }
}

impl Process for Flow {
    fn describe(&self) -> String {
        "flow matching on straight paths, predicts the velocity".into()
    }

    fn family(&self) -> Family {
        Family::Flow
    }

    fn t_range(&self) -> [f64; 2] {
        [1.0, 0.0]
    }

    fn marginal(&self, t: f64) -> Marginal {
        Marginal { alpha: 1.0 - t, sigma: t, alpha_rate: -1.0, sigma_rate: 1.0 }
    }

    /// r / (1 + r), which is 1 for the infinite ratio of pure noise.
    fn time_of_ratio(&self, ratio: f64) -> f64 {
        1.0 / (1.0 + 1.0 / ratio)
    }

    fn parameterization(&self, t: f64) -> Parameterization {
        Parameterization { c_in: 1.0, time: self.time_factor * t, target: [-1.0, 1.0] }
    }

    fn training_times(&self) -> Vec<f64> {
        middles().collect()
    }

    /// Equal steps from pure noise: the last time is 1/n.
    fn timesteps(&self, steps: u32) -> Vec<f64> {
        (0..steps).rev().map(|k| f64::from(k + 1) / f64::from(steps)).collect()
    }

    /// x itself as a function of t.
    fn solver_coords(&self, t: f64) -> SolverCoords {
        SolverCoords { scale: 1.0, coordinate: t, slope: [-1.0, 1.0] }
    }
}
