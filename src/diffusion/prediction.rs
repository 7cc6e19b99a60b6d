//! Prediction target of the network: the noise, the image, or the velocity.

use super::schedule::NoiseSchedule;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Prediction target of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum Prediction {
    /// The noise (Ho et al. 2020, eq. 11).
    #[default]
    Epsilon,
    /// The image x_0.
    Sample,
    /// v = alpha eps - sigma x_0, with alpha² + sigma² = 1 (Salimans and Ho 2022, section 4). In
    /// other processes, x_t is divided by sqrt(alpha² + sigma²) first.
    VPrediction,
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Prediction::Epsilon => "epsilon",
            Prediction::Sample => "sample",
            Prediction::VPrediction => "v_prediction",
        })
    }
}

impl Prediction {
    /// (p, q): the network predicts p x_0 + q eps where x_t = alpha x_0 + sigma eps and alpha² +
    /// sigma² = 1.
    pub(super) fn target(self, [alpha, sigma]: [f64; 2]) -> [f64; 2] {
        match self {
            Prediction::Epsilon => [0.0, 1.0],
            Prediction::Sample => [1.0, 0.0],
            Prediction::VPrediction => [-sigma, alpha],
        }
    }

    /// Checks that the network can predict this along the whole schedule.
    ///
    /// # Errors
    /// [`Error::Config`] for epsilon with a schedule that ends in pure noise: there x_0 = (x -
    /// eps)/0 (Lin et al. 2023, section 3.1).
    pub fn check(self, noise: &NoiseSchedule) -> Result<()> {
        if self == Prediction::Epsilon && noise.ends_in_pure_noise() {
            return Err(Error::Config(
                "a schedule with zero terminal signal-to-noise ratio cannot be used with the prediction `epsilon`: \
                pure noise says nothing about the image. Predict `v_prediction` or `sample`, or turn zero terminal \
                 SNR off"
                    .into(),
            ));
        }
        Ok(())
    }
}
