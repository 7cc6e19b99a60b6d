//! The sub-variance preserving equation dx = -beta(t)/2 x dt + sqrt(beta(t) (1 - exp(-2B))) dw on 0
//! < t <= 1 (Song et al. 2021b, appendix B).
//!
//! alpha = exp(-B/2), sigma = 1 - exp(-B), with beta and B of [`Vp`]. It never has more noise than
//! [`Vp`], and the same at the end.

use super::vp::{EARLIEST, Vp};
use crate::diffusion::prediction::Prediction;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process};
use serde::{Deserialize, Serialize};

/// Sub-variance preserving equation, with the parameters of [`Vp`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubVp(pub Vp);

impl SubVp {
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        self.0.check()
    }
}

impl Process for SubVp {
    fn describe(&self) -> String {
        let Vp { beta_min, beta_max, prediction } = self.0;
        format!("sub-variance preserving equation, beta {beta_min} to {beta_max}, predicts {prediction}")
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
        let (integral, beta) = (self.0.integral(t), self.0.beta(t));
        let alpha = (-0.5 * integral).exp();
        let sigma = -(-integral).exp_m1();
        Marginal { alpha, sigma, alpha_rate: -0.5 * beta * alpha, sigma_rate: beta * alpha * alpha }
    }

    /// sigma / alpha = 2 sinh(B/2).
    fn time_of_ratio(&self, ratio: f64) -> f64 {
        self.0.time_of(2.0 * (0.5 * ratio).asinh())
    }

    fn parameterization(&self, t: f64) -> Parameterization {
        let at = self.marginal(t);
        let size = at.alpha.hypot(at.sigma);
        let c_in = if self.0.prediction == Prediction::VPrediction { size.recip() } else { 1.0 };
        let target = self.0.prediction.target([at.alpha, at.sigma].map(|factor| factor / size));
        Parameterization { c_in, time: 999.0 * t, target }
    }

    fn training_times(&self) -> Vec<f64> {
        self.0.training_times()
    }
}
