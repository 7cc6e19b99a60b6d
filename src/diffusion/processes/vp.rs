//! The variance preserving equation dx = -beta(t)/2 x dt + sqrt(beta(t)) dw on 0 < t <= 1, beta
//! linear in t (Song et al. 2021b, appendix B).
//!
//! alpha = exp(-B/2), sigma² = 1 - exp(-B), B(t) = beta_min t + (beta_max - beta_min) t²/2. In the
//! paper the network predicts the noise, which is the score times -sigma.

use super::middles;
use crate::diffusion::prediction::Prediction;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process};
use serde::{Deserialize, Serialize};

/// Variance preserving equation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vp {
    /// beta(0): 0.1.
    pub beta_min: f64,
    /// beta(1): 20.
    pub beta_max: f64,
    /// What the network predicts: the noise, as in the paper.
    pub prediction: Prediction,
}

impl Default for Vp {
    fn default() -> Vp {
        Vp { beta_min: 0.1, beta_max: 20.0, prediction: Prediction::Epsilon }
    }
}

/// Last time of sampling and smallest time of training. At smaller times, the noise is smaller than
/// rounding errors (Song et al. 2021b, appendix C).
pub(super) const EARLIEST: [f64; 2] = [1e-3, 1e-5];

impl Vp {
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Vp { beta_min, beta_max, .. } = *self;
        match beta_min > 0.0 && beta_max >= beta_min && beta_max.is_finite() {
            true => Ok(()),
            false => Err(format!("beta_min = {beta_min} and beta_max = {beta_max}: use 0 < beta_min <= beta_max")),
        }
    }

    /// B(t), the integral of beta.
    pub(super) fn integral(&self, t: f64) -> f64 {
        self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t * t
    }

    pub(super) fn beta(&self, t: f64) -> f64 {
        self.beta_min + (self.beta_max - self.beta_min) * t
    }

    /// The time at which B has this value: the inverse of `integral`.
    pub(super) fn time_of(&self, integral: f64) -> f64 {
        let slope = self.beta_max - self.beta_min;
        // The root of slope t²/2 + beta_min t = integral, in a form that is accurate for small
        // slopes.
        2.0 * integral / (self.beta_min + (self.beta_min * self.beta_min + 2.0 * slope * integral).sqrt())
    }
}

impl Process for Vp {
    fn describe(&self) -> String {
        let Vp { beta_min, beta_max, prediction } = self;
        format!("variance preserving equation, beta {beta_min} to {beta_max}, predicts {prediction}")
    }

    fn family(&self) -> Family {
        Family::Sde
    }

    fn t_range(&self) -> [f64; 2] {
        [1.0, EARLIEST[0]]
    }

    fn t_eps(&self) -> f64 {
        EARLIEST[1]
    }

    fn marginal(&self, t: f64) -> Marginal {
        let (integral, beta) = (self.integral(t), self.beta(t));
        let alpha = (-0.5 * integral).exp();
        let sigma = (-(-integral).exp_m1()).sqrt();
        Marginal { alpha, sigma, alpha_rate: -0.5 * beta * alpha, sigma_rate: 0.5 * beta * alpha * alpha / sigma }
    }

    fn time_of_ratio(&self, ratio: f64) -> f64 {
        self.time_of((ratio * ratio).ln_1p())
    }

    /// The network receives 999 t, the index of a timestep if T were 1000.
    fn parameterization(&self, t: f64) -> Parameterization {
        let at = self.marginal(t);
        Parameterization { c_in: 1.0, time: 999.0 * t, target: self.prediction.target([at.alpha, at.sigma]) }
    }

    fn training_times(&self) -> Vec<f64> {
        middles().map(|u| EARLIEST[1] + u * (1.0 - EARLIEST[1])).collect()
    }
}
