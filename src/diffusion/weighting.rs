//! Loss weighting over time.

use super::process::{Family, Process};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Weights of the squared error over time. In a configuration: `{ name = "min_snr", gamma = 5 }`;
/// on a command line: the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a table such as `loss_weighting = { name = \"min_snr\" }`")]
pub enum LossWeighting {
    /// Equal weights for any prediction: L_simple (Ho et al. 2020, eq. 14).
    #[default]
    #[serde(deserialize_with = "super::no_parameters")]
    Simple,
    /// Equal weights for the error of the noise, which is the weight SNR for the error of the
    /// image.
    #[serde(deserialize_with = "super::no_parameters")]
    Snr,
    /// min(SNR, gamma) for the error of the image (Hang et al. 2023, section 3.4).
    MinSnr {
        /// 5 in the paper.
        #[serde(default = "five")]
        gamma: f64,
    },
    /// min(SNR + 1, gamma) for the error of the image: the weight min(SNR + 1, gamma) / (SNR + 1) for
    /// that of v, which is 1 and not 0 in pure noise, where the class of an image is decided.
    MinSnrPlusOne {
        /// 5 in Hang et al. 2023.
        #[serde(default = "five")]
        gamma: f64,
    },
    /// 1/(k + SNR)^gamma for the error of the noise (Choi et al. 2022, eq. 8).
    P2 {
        /// 1 in the paper.
        #[serde(default = "one")]
        k: f64,
        /// 1 or 0.5 in the paper; 0 is [`LossWeighting::Snr`].
        #[serde(default = "one")]
        gamma: f64,
    },
    /// g(t)² for the error of the score of a stochastic differential equation: an upper bound of
    /// the negative log-likelihood (Song et al. 2021c, theorem 1).
    #[serde(deserialize_with = "super::no_parameters")]
    Likelihood,
}

fn one() -> f64 {
    1.0
}

fn five() -> f64 {
    5.0
}

impl FromStr for LossWeighting {
    type Err = Error;

    fn from_str(name: &str) -> Result<LossWeighting> {
        super::from_name("the loss weighting", name)
    }
}

impl LossWeighting {
    /// The name in settings and on the command line.
    fn name(self) -> &'static str {
        match self {
            LossWeighting::Simple => "simple",
            LossWeighting::Snr => "snr",
            LossWeighting::MinSnr { .. } => "min_snr",
            LossWeighting::MinSnrPlusOne { .. } => "min_snr_plus_one",
            LossWeighting::P2 { .. } => "p2",
            LossWeighting::Likelihood => "likelihood",
        }
    }

    /// `[T]`: the weight of the squared error of the network's output at each training time.
    ///
    /// # Errors
    /// [`Error::Config`] for a parameter that is not positive (gamma of P2 may be 0), for
    /// `likelihood` with a process that is not a stochastic differential equation, and for weights
    /// that are 0 in pure noise: the network would never be trained for the first step of sampling.
    pub fn weights(self, process: &dyn Process) -> Result<Vec<f32>> {
        let times = process.training_times();
        let (positive, other) = match self {
            LossWeighting::Simple => return Ok(vec![1.0; times.len()]),
            LossWeighting::Snr | LossWeighting::Likelihood => (1.0, 0.0),
            LossWeighting::MinSnr { gamma } | LossWeighting::MinSnrPlusOne { gamma } => (gamma, 0.0),
            LossWeighting::P2 { k, gamma } => (k, gamma),
        };
        if !(positive > 0.0 && positive.is_finite() && other >= 0.0 && other.is_finite()) {
            let parameters = match self {
                LossWeighting::P2 { k, gamma } => format!("k = {k} and gamma = {gamma}"),
                _ => format!("gamma = {positive}"),
            };
            return Err(Error::Config(format!(
                "--loss-weighting {} with {parameters}: its parameters must be positive",
                self.name()
            )));
        }
        if self == LossWeighting::Likelihood && process.family() != Family::Sde {
            return Err(Error::Config(format!(
                "the loss weighting likelihood is for a stochastic differential equation, and this is {}",
                process.describe()
            )));
        }
        let weight = |&t: &f64| {
            let (at, [p, q]) = (process.marginal(t), process.parameterization(t).target);
            let snr = at.sigma_ratio().powi(-2);
            // For a given x_t, the error of m = p x_0 + q eps is -determinant / sigma times the
            // error of x_0.
            let determinant = at.alpha * q - at.sigma * p;
            let per_image = (at.sigma / determinant).powi(2);
            let for_output = match self {
                LossWeighting::Simple => 1.0,
                LossWeighting::Snr => snr * per_image,
                LossWeighting::MinSnr { gamma } => snr.min(gamma) * per_image,
                LossWeighting::MinSnrPlusOne { gamma } => (snr + 1.0).min(gamma) * per_image,
                LossWeighting::P2 { k, gamma } => snr / (k + snr).powf(gamma) * per_image,
                // g² |score error|², and the score is the noise times -1 / sigma.
                LossWeighting::Likelihood => at.diffusion() / (at.sigma * at.sigma) * snr * per_image,
            };
            for_output as f32
        };
        let weights: Vec<f32> = times.iter().map(weight).collect();
        if process.schedule().is_some_and(|noise| noise.ends_in_pure_noise()) && weights.last() == Some(&0.0) {
            return Err(Error::Config(format!(
                "--loss-weighting {} is 0 at the last timestep of a schedule with zero terminal SNR, so that the first step \
                 of sampling would not be trained: use --loss-weighting simple or min_snr_plus_one, or --zero-terminal-snr false",
                self.name()
            )));
        }
        Ok(weights)
    }
}
