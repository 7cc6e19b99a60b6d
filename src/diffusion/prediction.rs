//! What the model's output means: the noise, the image, or the velocity between them.

use super::schedule::NoiseSchedule;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the model predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise (Ho et al. 2020, eq. 11).
    #[default]
    Epsilon,
    /// The image x_0.
    Sample,
    /// v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022, section 4).
    VPrediction,
}

/// What the model's output is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The noise itself.
    Noise,
    /// The image itself.
    Image,
    /// Image and noise put together by `mix` with this table [T, 2] = (-sqrt(1 - abar_t), sqrt(abar_t)).
    Velocity(Vec<[f32; 2]>),
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
    /// Whether this can be predicted along the whole schedule.
    ///
    /// # Errors
    /// [`Error::Config`] for epsilon with a schedule that ends in pure noise: there x_0 = (x - eps)/0 (Lin et al. 2023, section 3.1).
    pub fn check(self, noise: &NoiseSchedule) -> Result<()> {
        if self == Prediction::Epsilon && noise.ends_in_pure_noise() {
            return Err(Error::Config(
                "a schedule of zero terminal signal-to-noise ratio does not go with predicting epsilon: from pure noise the noise says \
                 nothing about the image. Predict `v_prediction` or `sample`, or switch zero terminal SNR off"
                    .into(),
            ));
        }
        Ok(())
    }

    /// `[T]` of (c0, c1, c2, c3) such that x_0 = c0 x + c1 m and eps = c2 x + c3 m, for the noised image x and the model's output m.
    ///
    /// # Errors
    /// Those of [`Prediction::check`].
    pub fn conversion(self, noise: &NoiseSchedule) -> Result<Vec<[f64; 4]>> {
        self.check(noise)?;
        let of = |&bar: &f64| {
            let (image, noise) = (bar.sqrt(), (1.0 - bar).sqrt());
            match self {
                Prediction::Epsilon => [1.0 / image, -noise / image, 0.0, 1.0],
                Prediction::Sample => [0.0, 1.0, 1.0 / noise, -image / noise],
                Prediction::VPrediction => [image, -noise, noise, image],
            }
        };
        Ok(noise.alphas_cumprod().iter().map(of).collect())
    }

    /// What training compares the model's output with.
    ///
    /// # Errors
    /// Those of [`Prediction::check`].
    pub fn target(self, noise: &NoiseSchedule) -> Result<Target> {
        self.check(noise)?;
        Ok(match self {
            Prediction::Epsilon => Target::Noise,
            Prediction::Sample => Target::Image,
            Prediction::VPrediction => {
                Target::Velocity(noise.noising_table().into_iter().map(|[image, noise]| [-noise, image]).collect())
            }
        })
    }
}
