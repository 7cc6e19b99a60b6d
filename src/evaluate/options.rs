//! Options of an evaluation.

use crate::data::ImageFileOptions;
#[cfg(feature = "cli")]
use crate::diffusion::SamplerName;
use crate::diffusion::SamplingOptions;
use crate::{Error, Result};
use std::path::PathBuf;

/// Options of an evaluation.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct EvalOptions {
    /// Folder of the data set [default: the run's]
    #[cfg_attr(feature = "cli", arg(long, value_name = "FOLDER"))]
    pub data: Option<PathBuf>,
    /// How image files are read.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub files: ImageFileOptions,
    /// Feature extractor: a classifier checkpoint of
    /// `train --preset classifier --noise-aware false`
    #[cfg_attr(feature = "cli", arg(long, value_name = "FOLDER", default_value = "data/feature-extractor"))]
    pub feature_extractor: PathBuf,
    /// Folder that caches the features of data sets
    #[cfg_attr(feature = "cli", arg(long, value_name = "FOLDER", default_value = "runs/features"))]
    pub feature_cache: PathBuf,
    /// Folder for evaluation.json and the images [default: `evaluation` in the run folder]
    #[cfg_attr(feature = "cli", arg(long, value_name = "FOLDER"))]
    pub out: Option<PathBuf>,
    /// Number of samples; not with --samples, which uses all images of the file
    #[cfg_attr(feature = "cli", arg(long, default_value_t = 10_000))]
    pub count: u32,
    /// Options of the sampler.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub sampling: SamplingOptions,
    /// The class that means "no label", for a model that was not written by degrain
    #[cfg_attr(feature = "cli", arg(long, value_name = "CLASS"))]
    pub null_class: Option<u32>,
    /// The model's images are those of the data with a black border, which is removed. For a model
    /// that was not written by degrain, and whose images are larger than the data's
    #[cfg_attr(feature = "cli", arg(long, conflicts_with = "resize"))]
    pub padded: bool,
    /// Random seed
    #[cfg_attr(feature = "cli", arg(long, default_value_t = 0))]
    pub seed: u64,
    /// Batch size
    #[cfg_attr(feature = "cli", arg(long, default_value_t = 64))]
    pub batch: u32,
    /// Save the samples as npz (arr_0: u8 N x H x W x C, arr_1: classes)
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE"))]
    pub save_samples: Option<PathBuf>,
    /// Unconditional samples for the class balance of a conditional model [default: a quarter of
    /// --count]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT"))]
    pub balance_count: Option<u32>,
    /// Training steps of each of the two classifiers for the classification accuracy score, of the
    /// samples and of as many training images; 0 skips the score
    #[cfg_attr(feature = "cli", arg(long, value_name = "STEPS", default_value_t = 600))]
    pub cas_steps: u32,
    /// Images of each split for bits per dimension; 0 skips them [default: 1000, or 64 for
    /// processes in continuous time]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT"))]
    pub likelihood_images: Option<u32>,
    /// Random timesteps per image (discrete processes) or latents per image (autoencoders)
    /// [default: 8 or 64]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT"))]
    pub likelihood_draws: Option<u32>,
    /// Draw an autoencoder's latents from a mixture of this number of Gaussians, fitted to the
    /// latents of training images (Ghosh et al. 2020); 0 for N(0, 1) [default: the mixture in the
    /// checkpoint, or N(0, 1)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT"))]
    pub latent_components: Option<u32>,
    /// Tolerance of the ODE solver for the likelihood of processes in continuous time
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOLERANCE", default_value_t = 1e-3))]
    pub likelihood_tolerance: f64,
    /// Number of samples whose nearest training images are searched
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", default_value_t = 500))]
    pub nearest_count: u32,
    /// Additional samplers whose Frechet distance is measured: SAMPLER:STEPS or
    /// SAMPLER:STEPS:GUIDANCE, separated by commas; ode chooses its steps: ode or ode::GUIDANCE
    #[cfg_attr(feature = "cli", arg(long, value_name = "SAMPLERS", value_delimiter = ',', value_parser = parse_sweep_entry))]
    pub sweep: Vec<SamplingOptions>,
    /// Number of samples for each --sweep entry
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", default_value_t = 1_000))]
    pub sweep_count: u32,
}

/// Sampling options from `SAMPLER:STEPS` or `SAMPLER:STEPS:GUIDANCE`. For the sampler `ode`, which
/// chooses its steps itself, from `ode` or `ode::GUIDANCE`.
#[cfg(feature = "cli")]
fn parse_sweep_entry(text: &str) -> std::result::Result<SamplingOptions, String> {
    let wrong = || format!("`{text}` must be SAMPLER:STEPS or SAMPLER:STEPS:GUIDANCE, for example ddim:25:2");
    let parts: Vec<&str> = text.trim().split(':').collect();
    let known = |name: &str| SamplerName::ALL.iter().copied().find(|known| known.name() == name);
    let unknown = |name: &str| {
        let names: Vec<&str> = SamplerName::ALL.iter().map(|sampler| sampler.name()).collect();
        format!("there is no sampler `{name}`; there are: {}", names.join(", "))
    };
    let (name, steps, guidance) = match parts[..] {
        ["ode"] => ("ode", None, None),
        ["ode", "", guidance] if guidance.parse::<f32>().is_ok() => ("ode", None, Some(guidance)),
        ["ode", "", guidance] if !guidance.is_empty() => {
            return Err(format!("`{text}`: the guidance scale `{guidance}` is not a number"));
        }
        ["ode", ..] => return Err(format!("`{text}`: ode chooses its steps itself, so write ode or ode::GUIDANCE")),
        [name, steps] => (name, Some(steps), None),
        [name, steps, guidance] => (name, Some(steps), Some(guidance)),
        _ => return Err(wrong()),
    };
    Ok(SamplingOptions {
        sampler: Some(known(name).ok_or_else(|| unknown(name))?),
        steps: steps.map(|steps| steps.parse().map_err(|_| wrong())).transpose()?,
        guidance: guidance.map(|guidance| guidance.parse().map_err(|_| wrong())).transpose()?,
        ..SamplingOptions::default()
    })
}

impl EvalOptions {
    /// Checks the values for a feature extractor with `width` features.
    ///
    /// # Errors
    /// [`Error::Config`] names the invalid option.
    pub fn check(&self, width: usize) -> Result<()> {
        let min = width as u32 + 1;
        let sweep = if self.sweep.is_empty() { min } else { self.sweep_count };
        for (option, count) in [("count", self.count), ("sweep-count", sweep)] {
            if count < min {
                return Err(Error::Config(format!(
                    "--{option} {count} is too small: the covariance of {width} features needs at least {min} images. \
                     The distance of few images is biased upward, so use 2,000 or more"
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
                "--likelihood-draws must be at least 1; --likelihood-images 0 skips the likelihood".into(),
            ));
        }
        if !(self.likelihood_tolerance > 0.0 && self.likelihood_tolerance.is_finite()) {
            return Err(Error::Config(format!(
                "--likelihood-tolerance {} must be a positive number",
                self.likelihood_tolerance
            )));
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn sweep_entries_name_sampler_steps_and_guidance() {
        let entry = |text| parse_sweep_entry(text).map(|entry| (entry.sampler.unwrap(), entry.steps, entry.guidance));
        assert_eq!(entry("ddim:25"), Ok((SamplerName::Ddim, Some(25), None)));
        assert_eq!(entry(" ddpm:100:1.5"), Ok((SamplerName::Ddpm, Some(100), Some(1.5))));
        assert_eq!(entry("ode"), Ok((SamplerName::Ode, None, None)));
        assert_eq!(entry("ode::2"), Ok((SamplerName::Ode, None, Some(2.0))));
        for wrong in [
            "",
            "ddim",
            "ddim:",
            "ddim::2",
            "ddim:x",
            "ddim:25:x",
            "ddim:25:2:1",
            "ode:25",
            "ode:25:2",
            "ode:",
            "ode::x",
        ] {
            assert!(entry(wrong).is_err(), "{wrong}");
        }
        assert!(entry("ode::x").unwrap_err().contains("guidance scale `x`"));
    }
}
