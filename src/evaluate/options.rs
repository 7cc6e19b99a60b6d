//! What can be asked of an evaluation.

use crate::diffusion::{SamplerName, SamplingOptions};
use crate::{Error, Result};
use clap::ValueEnum;
use std::path::PathBuf;
use std::str::FromStr;

/// What can be asked of an evaluation.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder of the data set; the run's unless given
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// The classifier whose features are compared: a checkpoint of `train --preset classifier --noise-aware false`
    #[arg(long, default_value = "data/feature-extractor")]
    pub feature_extractor: PathBuf,
    /// Where the features of the data set are kept from one evaluation to the next
    #[arg(long, value_name = "FOLDER", default_value = "runs/features")]
    pub feature_cache: PathBuf,
    /// Where to write evaluation.json and the pictures; the run's folder evaluation/ unless given
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Images to draw; not with --samples, of which all are taken
    #[arg(long, default_value_t = 10_000)]
    pub count: u32,
    /// How they are drawn.
    #[command(flatten)]
    pub options: SamplingOptions,
    /// Seed of all noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Images drawn at once
    #[arg(long, default_value_t = 64)]
    pub batch: u32,
    /// Write the images for other tools (arr_0: u8 N x H x W x C, arr_1: their classes)
    #[arg(long, value_name = "FILE")]
    pub save_samples: Option<PathBuf>,
    /// Images without a class, for the balance of a model of classes; a quarter of --count unless given
    #[arg(long, value_name = "COUNT")]
    pub balance_count: Option<u32>,
    /// Steps of the classifier that is trained on the images alone (classification accuracy score); 0 leaves it out
    #[arg(long, value_name = "STEPS", default_value_t = 600)]
    pub cas_steps: u32,
    /// Images of each split whose likelihood is measured: 1000 unless given, or 64 where an equation must be solved; 0 leaves it out
    #[arg(long, value_name = "COUNT")]
    pub likelihood_images: Option<u32>,
    /// Time steps of each image at which the bound is measured besides t = 0; latents of each image for an autoencoder: 8 and 64 unless given
    #[arg(long, value_name = "COUNT")]
    pub likelihood_draws: Option<u32>,
    /// Tolerance of the solver for the flow's likelihood
    #[arg(long, value_name = "TOLERANCE", default_value_t = 1e-3)]
    pub likelihood_tolerance: f64,
    /// Images whose nearest training image in pixels is sought
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    pub nearest_count: u32,
    /// Other ways of drawing, whose Frechet distance is measured too: SAMPLER:STEPS or SAMPLER:STEPS:GUIDANCE, separated by commas
    #[arg(long, value_name = "WAYS", value_delimiter = ',')]
    pub sweep: Vec<SweepSpec>,
    /// Images of each of them
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub sweep_count: u32,
}

/// A way of drawing: a sampler, its steps, and a guidance scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SweepSpec {
    /// The sampler.
    pub sampler: SamplerName,
    /// Its steps.
    pub steps: u32,
    /// Scale of classifier-free guidance; the run's unless given.
    pub guidance: Option<f32>,
}

impl FromStr for SweepSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<SweepSpec, String> {
        let wrong =
            || format!("`{text}` is no way of drawing: write SAMPLER:STEPS or SAMPLER:STEPS:GUIDANCE, as ddim:25:2");
        let mut parts = text.trim().split(':');
        let sampler = parts.next().ok_or_else(wrong)?;
        let steps = parts.next().ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        let guidance = parts.next().map(|guidance| guidance.parse().map_err(|_| wrong())).transpose()?;
        match parts.next() {
            None => Ok(SweepSpec { sampler: SamplerName::from_str(sampler, false)?, steps, guidance }),
            Some(_) => Err(wrong()),
        }
    }
}

impl Options {
    /// Whether the numbers can be followed, for a ruler of `width` features.
    ///
    /// # Errors
    /// [`Error::Config`]: which cannot.
    pub fn check(&self, width: usize) -> Result<()> {
        let least = width as u32 + 1;
        let sweep = if self.sweep.is_empty() { least } else { self.sweep_count };
        for (option, count) in [("count", self.count), ("sweep-count", sweep)] {
            if count < least {
                return Err(Error::Config(format!(
                    "--{option} {count}: too few images for the covariance of {width} features; at least {least} are needed, and the distance of \
                     few images is biased upward: use 2,000 or more"
                )));
            }
        }
        for (option, count) in [("batch", self.batch), ("nearest-count", self.nearest_count)] {
            if count == 0 {
                return Err(Error::Config(format!("--{option} must be at least 1")));
            }
        }
        if self.likelihood_draws == Some(0) {
            return Err(Error::Config(
                "--likelihood-draws must be at least 1: --likelihood-images 0 leaves it out".into(),
            ));
        }
        let solves = self.likelihood_tolerance > 0.0 && self.likelihood_tolerance.is_finite();
        match solves {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "--likelihood-tolerance {} must be a positive number",
                self.likelihood_tolerance
            ))),
        }
    }
}
