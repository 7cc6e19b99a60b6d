//! The variance exploding equation dx = sqrt(d sigma²/dt) dw on 0 < t <= 1 (Song et al. 2021b,
//! appendix B).
//!
//! x_t = x_0 + sigma(t) eps, sigma = sigma_min (sigma_max / sigma_min)^t. In the paper the network
//! predicts the noise, which is the score times -sigma. Here its input is then x_t / sqrt(1/4 +
//! sigma²), because a U-Net does not train on inputs of the size of sigma_max. The paper does not
//! scale the input. 1/4 is a choice of this crate, and the root mean square of the input is at most
//! 2 for images in [-1, 1]. With `v_prediction` the input is x_t / sqrt(1 + sigma²). Sampling ends
//! with noise of standard deviation sigma_min.

use super::middles;
use super::vp::EARLIEST;
use crate::diffusion::prediction::Prediction;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process};
use serde::{Deserialize, Serialize};

/// Variance exploding equation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ve {
    /// sigma(0): 0.01.
    pub sigma_min: f64,
    /// sigma(1): 50.
    pub sigma_max: f64,
    /// What the network predicts: the noise, as in the paper.
    pub prediction: Prediction,
}

impl Default for Ve {
    fn default() -> Ve {
        Ve { sigma_min: 0.01, sigma_max: 50.0, prediction: Prediction::Epsilon }
    }
}

/// Constant that bounds the factor of the network's input at small noise. It is not stored in
/// checkpoints, so it must not change.
const INPUT_CONSTANT: f64 = 0.25;

impl Ve {
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Ve { sigma_min, sigma_max, .. } = *self;
        match sigma_min > 0.0 && sigma_max > sigma_min && sigma_max.is_finite() {
            true => Ok(()),
            false => Err(format!("sigma_min = {sigma_min} and sigma_max = {sigma_max}: use 0 < sigma_min < sigma_max")),
        }
    }

    /// log(sigma_max / sigma_min), the total growth of log(sigma).
    fn growth(&self) -> f64 {
        (self.sigma_max / self.sigma_min).ln()
    }
}

impl Process for Ve {
    fn describe(&self) -> String {
        let Ve { sigma_min, sigma_max, prediction } = self;
        format!("variance exploding equation, sigma {sigma_min} to {sigma_max}, predicts {prediction}")
    }

    fn family(&self) -> Family {
        Family::Sde
    }

    /// Down to 1e-5 (Song et al. 2021b, appendix C).
    fn t_range(&self) -> [f64; 2] {
        [1.0, EARLIEST[1]]
    }

    fn marginal(&self, t: f64) -> Marginal {
        let sigma = self.sigma_min * (self.growth() * t).exp();
        Marginal { alpha: 1.0, sigma, alpha_rate: 0.0, sigma_rate: self.growth() * sigma }
    }

    fn time_of_ratio(&self, ratio: f64) -> f64 {
        (ratio / self.sigma_min).ln() / self.growth()
    }

    /// The network receives 999 t, the index of a timestep if T were 1000. It is linear in
    /// log(sigma).
    fn parameterization(&self, t: f64) -> Parameterization {
        let at = self.marginal(t);
        let constant = if self.prediction == Prediction::VPrediction { 1.0 } else { INPUT_CONSTANT };
        let c_in = (constant + at.sigma * at.sigma).sqrt().recip();
        let target = self.prediction.target([at.alpha, at.sigma].map(|factor| factor / at.alpha.hypot(at.sigma)));
        Parameterization { c_in, time: 999.0 * t, target }
    }

    fn training_times(&self) -> Vec<f64> {
        middles().map(|u| EARLIEST[1] + u * (1.0 - EARLIEST[1])).collect()
    }

    fn prior_std(&self) -> f64 {
        self.sigma_max
    }
}
