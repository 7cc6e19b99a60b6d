//! EDM: x_t = x_0 + t eps, where the time t is the noise level sigma (Karras et al. 2022, section 5
//! and table 1, column "Ours").
//!
//! The network receives c_in x and predicts F, where x_0 = c_skip x + c_out F. With d = sigma_data:
//!
//! ```text
//! c_skip = d² / (sigma² + d²)
//! c_out  = sigma d / sqrt(sigma² + d²)
//! c_in   = 1 / sqrt(sigma² + d²)
//! ```
//!
//! Appendix B.6 derives them from unit variance of input and target, for data of mean 0. For data
//! whose mean is not 0, the same derivation holds with second moments: d² must be E[x_0²], and not
//! the variance of x_0.
//!
//! With this target the error of x_0 is c_out times that of F, so the paper's weight lambda(sigma)
//! = 1 / c_out² is the weight 1 here. The network receives the time 1000 c_noise = 250 log(sigma),
//! because its sinusoidal embedding is designed for values of the order of 1000.

use super::middles;
use super::normal::quantile;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process};
use serde::{Deserialize, Serialize};

/// The process of EDM.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edm {
    /// Root mean square of the data, sqrt(mean² + std²). Training measures it if it is not set. The
    /// paper uses 0.5 for all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma_data: Option<f64>,
    /// Mean of log(sigma) in training: -0.8. With the -1.2 and 1.2 of Karras et al. 2022 (table 1),
    /// the largest level in training is 37, and sampling would start at levels that the network
    /// never received. The defaults are those of Karras et al. 2024 for images of 64x64 pixels (the
    /// presets `edm2-img64` of their code): they give levels from 0.0007 to 274, of which 17.5 %
    /// instead of 5.7 % are above 2.
    pub p_mean: f64,
    /// Standard deviation of log(sigma) in training: 1.6.
    pub p_std: f64,
    /// Noise level at which the last sampling step starts: 0.002.
    pub sigma_min: f64,
    /// Noise level at which sampling starts: 80.
    pub sigma_max: f64,
}

impl Default for Edm {
    fn default() -> Edm {
        Edm { sigma_data: None, p_mean: -0.8, p_std: 1.6, sigma_min: 0.002, sigma_max: 80.0 }
    }
}

impl Edm {
    /// Root mean square of the data: measured, or 0.5.
    pub fn data_rms(&self) -> f64 {
        self.sigma_data.unwrap_or(0.5)
    }

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let Edm { p_mean, p_std, sigma_min, sigma_max, .. } = *self;
        let sigma_data = self.data_rms();
        if !(sigma_min > 0.0 && sigma_max > sigma_min && sigma_max.is_finite()) {
            return Err(format!("sigma_min = {sigma_min} and sigma_max = {sigma_max}: use 0 < sigma_min < sigma_max"));
        }
        if !(sigma_data > 0.0 && p_std > 0.0 && [sigma_data, p_std, p_mean].iter().all(|x| x.is_finite())) {
            return Err(format!(
                "sigma_data = {sigma_data}, p_mean = {p_mean}, p_std = {p_std}: use finite numbers, sigma_data and p_std above 0"
            ));
        }
        Ok(())
    }
}

impl Process for Edm {
    fn describe(&self) -> String {
        let Edm { sigma_min, sigma_max, .. } = self;
        format!("EDM, sigma {sigma_min} to {sigma_max}, sigma_data {:.4}", self.data_rms())
    }

    fn family(&self) -> Family {
        Family::Edm
    }

    fn t_range(&self) -> [f64; 2] {
        [self.sigma_max, self.sigma_min]
    }

    fn marginal(&self, t: f64) -> Marginal {
        Marginal { alpha: 1.0, sigma: t, alpha_rate: 0.0, sigma_rate: 1.0 }
    }

    fn time_of_ratio(&self, ratio: f64) -> f64 {
        ratio
    }

    /// F = (x_0 - c_skip x) / c_out, written in x_0 and eps.
    fn parameterization(&self, t: f64) -> Parameterization {
        let (data, size) = (self.data_rms(), t.hypot(self.data_rms()));
        Parameterization { c_in: size.recip(), time: 250.0 * t.ln(), target: [t / (data * size), -data / size] }
    }

    /// Quantiles of log(sigma) ~ N(p_mean, p_std²).
    fn training_times(&self) -> Vec<f64> {
        middles().map(|u| (self.p_mean + self.p_std * quantile(u)).exp()).collect()
    }

    fn prior_std(&self) -> f64 {
        self.sigma_max
    }

    /// If sampling starts at a level that training does not reach.
    fn warning(&self) -> Option<String> {
        let Edm { p_mean, p_std, sigma_max, .. } = self;
        let largest = self.training_times().into_iter().fold(0.0, f64::max);
        (largest < *sigma_max).then(|| {
            format!(
                "EDM with p_mean = {p_mean} and p_std = {p_std} trains noise levels up to {largest:.1}, and sampling starts \
                 at sigma_max = {sigma_max}: train with a smaller sigma_max, or a larger p_mean or p_std"
            )
        })
    }
}
