//! Guidance: classifier-free (Ho and Salimans 2022) and by the gradient of a classifier (Dhariwal
//! and Nichol 2021).
//!
//! ```text
//! classifier-free   m = u + scale (c - u), u the output with the null class, c with the label
//! in an interval    scale 1 at other noise levels           (Kynkäänniemi et al. 2024, section 3)
//! rescaled          m std(c) / std(m), mixed with m by phi     (Lin et al. 2023, eqs. 15, 16)
//! classifier        score + lambda d log p(y | x) / dx         (Dhariwal and Nichol 2021, alg. 2)
//! ```

use crate::nn::Network;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Guidance settings.
#[derive(Clone, Copy, Debug)]
pub struct Guidance<'a> {
    /// Scale of classifier-free guidance. 1 turns guidance off, which halves the cost; 0 samples
    /// without labels.
    pub scale: f32,
    /// Guidance rescale, phi of Lin et al. 2023, section 3.4, 0 to 1. 1 gives the guided output the
    /// standard deviation of the output with the label; 0 leaves it as it is.
    pub rescale: f32,
    /// The noise levels at which the scale is used; `None` for all.
    pub interval: Option<GuidanceInterval>,
    /// Classifier for classifier guidance, if any.
    pub classifier: Option<ClassifierGuide<'a>>,
}

impl Default for Guidance<'_> {
    fn default() -> Self {
        Guidance { scale: 1.0, rescale: 0.0, interval: None, classifier: None }
    }
}

impl Guidance<'_> {
    /// The scale at a noise level sigma / alpha.
    pub(super) fn scale_at(&self, level: f64) -> f32 {
        match self.interval {
            Some(GuidanceInterval([low, high])) if !(f64::from(low)..=f64::from(high)).contains(&level) => 1.0,
            _ => self.scale,
        }
    }
}

/// Lowest and highest noise level sigma / alpha with guidance. At high levels guidance reduces the
/// variety of samples, and at low levels it has little effect (Kynkäänniemi et al. 2024, section
/// 3).
///
/// ```
/// # use degrain::diffusion::GuidanceInterval;
/// assert_eq!("0.3,5".parse::<GuidanceInterval>()?, GuidanceInterval([0.3, 5.0]));
/// assert!("5,0.3".parse::<GuidanceInterval>().is_err());
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuidanceInterval(pub [f32; 2]);

impl FromStr for GuidanceInterval {
    type Err = Error;

    fn from_str(text: &str) -> Result<GuidanceInterval> {
        let numbers: Option<Vec<f32>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[low, high]) if low >= 0.0 && low < high => Ok(GuidanceInterval([low, high])),
            _ => Err(Error::Config(format!(
                "the interval `{text}`: use two noise levels, the lower one first, such as 0.3,5 (0 is the image)"
            ))),
        }
    }
}

/// A classifier that guides by the gradient of its log-probability.
#[derive(Clone, Copy, Debug)]
pub struct ClassifierGuide<'a> {
    /// The classifier.
    pub network: &'a dyn Network,
    /// Name of the buffer that holds its weights.
    pub weights: &'a str,
    /// lambda, the factor of the gradient.
    pub scale: f64,
}

/// The class labels that a denoiser was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Number of classes of the data, without the null class.
    pub classes: u32,
    /// Probability with which training replaced a label by the null class; 0 if the model has no
    /// null class.
    pub dropout: f32,
}

impl Labels {
    /// Index of the null class, which means "no label"; `None` for a model trained without label
    /// dropout.
    pub fn null_class(&self) -> Option<u32> {
        (self.dropout > 0.0).then_some(self.classes)
    }

    /// Rows of the model's table of classes (`num_class_embeds` in diffusers): one more than the
    /// classes if there is a null class.
    pub fn embeddings(&self) -> u32 {
        self.null_class().map_or(self.classes, |null| null + 1)
    }

    /// Labels for the model's batch: `labels` `[B]` for a scale of 1 and the null class for 0. Any
    /// other scale needs a batch `[2B]`: the null class in the first half and `labels` in the
    /// second. The operator `guidance` turns their outputs u and c into u + scale (c - u).
    ///
    /// ```
    /// # use degrain::diffusion::Labels;
    /// let labels = Labels { classes: 10, dropout: 0.1 };
    /// assert_eq!(labels.batch(&[3, 7], 1.0)?, [3, 7]);
    /// assert_eq!(labels.batch(&[3, 7], 0.0)?, [10, 10]);
    /// assert_eq!(labels.batch(&[3, 7], 2.0)?, [10, 10, 3, 7]);
    /// # Ok::<(), degrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a label that is not a class, a scale that is negative or not finite,
    /// and a scale other than 1 with a model that was trained without label dropout.
    pub fn batch(&self, labels: &[u32], scale: f32) -> Result<Vec<u32>> {
        if let Some(label) = labels.iter().find(|&&label| label >= self.classes) {
            return Err(Error::Config(format!(
                "there is no class {label}: the model knows 0 to {}",
                self.classes.max(1) - 1
            )));
        }
        if !self.guided(scale)? {
            let null = self.null_class().filter(|_| scale == 0.0);
            return Ok(labels.iter().map(|&label| null.unwrap_or(label)).collect());
        }
        Ok([vec![self.classes; labels.len()], labels.to_vec()].concat())
    }

    /// Whether the model runs on a doubled batch for this scale: for all scales except 0 (no label)
    /// and 1 (no guidance).
    ///
    /// # Errors
    /// As [`Labels::batch`], for the scale.
    pub fn guided(&self, scale: f32) -> Result<bool> {
        if !(scale >= 0.0 && scale.is_finite()) {
            return Err(Error::Config(format!(
                "a guidance scale of {scale}: use 0 (no label), 1 (no guidance) or more, usually 1.5 to 4"
            )));
        }
        match self.null_class() {
            _ if scale == 1.0 => Ok(false),
            Some(_) => Ok(scale != 0.0),
            None => Err(Error::Config(format!(
                "a guidance scale of {scale} needs a model trained with label dropout, and this one was trained without \
                 (dropout 0), so it has no null class. Sample with scale 1, or train with a dropout of 0.1"
            ))),
        }
    }
}
