//! How much the loss of each time step counts.

use super::prediction::Prediction;
use super::schedule::NoiseSchedule;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Weights of the squared error by time step. In a configuration: `{ name = "min_snr", gamma = 5 }`; from a command line: the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum LossWeighting {
    /// All equal, whatever is predicted: L_simple (Ho et al. 2020, eq. 14).
    #[default]
    Simple,
    /// Equal for the error in the noise, so the signal-to-noise ratio for the error in the image.
    Snr,
    /// min(SNR, gamma) for the error in the image (Hang et al. 2023, section 3.4).
    MinSnr {
        /// 5 in the paper.
        #[serde(default = "five")]
        gamma: f64,
    },
    /// 1/(k + SNR)^gamma for the error in the noise (Choi et al. 2022, eq. 8).
    P2 {
        /// 1 in the paper.
        #[serde(default = "one")]
        k: f64,
        /// 1 or 0.5 in the paper; 0 is [`LossWeighting::Snr`].
        #[serde(default = "one")]
        gamma: f64,
    },
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
    /// `[T]`: the weight of the squared error in the model's output at each time step.
    ///
    /// # Errors
    /// [`Error::Config`] for a parameter that is no positive number (gamma of P2 may be 0), and those of [`Prediction::check`].
    pub fn weights(self, prediction: Prediction, noise: &NoiseSchedule) -> Result<Vec<f32>> {
        prediction.check(noise)?;
        let (positive, other) = match self {
            LossWeighting::Simple => return Ok(vec![1.0; noise.steps() as usize]),
            LossWeighting::Snr => (1.0, 0.0),
            LossWeighting::MinSnr { gamma } => (gamma, 0.0),
            LossWeighting::P2 { k, gamma } => (k, gamma),
        };
        if !(positive > 0.0 && positive.is_finite() && other >= 0.0 && other.is_finite()) {
            return Err(Error::Config(format!("the loss weighting {self:?} needs positive numbers")));
        }
        let weight = |(&bar, snr): (&f64, f64)| {
            // Of the error in the image, which is 1/SNR of that in the noise and (1 - abar) of that in the velocity.
            let for_image = match self {
                LossWeighting::Simple | LossWeighting::Snr => snr,
                LossWeighting::MinSnr { gamma } => snr.min(gamma),
                LossWeighting::P2 { k, gamma } => snr / (k + snr).powf(gamma),
            };
            let for_output = match prediction {
                Prediction::Epsilon => for_image / snr,
                Prediction::Sample => for_image,
                Prediction::VPrediction => for_image * (1.0 - bar),
            };
            for_output as f32
        };
        Ok(noise.alphas_cumprod().iter().zip(noise.snr()).map(weight).collect())
    }
}
