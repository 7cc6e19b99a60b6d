//! Sampling options without an effect: a user who gives one expects something that will not happen.

use super::sampler_options::option_name;
use super::samplers::SamplerName;
use super::sampling::{Sampling, SamplingOptions};
use crate::{Error, Result};
use serde_json::Value;

impl SamplingOptions {
    /// The options that are set, by their names on a command line.
    ///
    /// ```
    /// # use degrain::diffusion::SamplingOptions;
    /// let options = SamplingOptions { guidance_rescale: Some(0.5), ..SamplingOptions::default() };
    /// assert_eq!(options.given(), [("--guidance-rescale".to_string(), 0.5.into())]);
    /// ```
    pub fn given(&self) -> Vec<(String, Value)> {
        let mut all = serde_json::to_value(self).expect("options can be written as JSON");
        let nested = all["options"].take();
        let entries = |map: &Value| map.as_object().cloned().unwrap_or_default();
        let all = entries(&all).into_iter().filter(|(key, _)| key != "options").chain(entries(&nested));
        all.map(|(key, value)| (option_name(&key), value)).collect()
    }

    /// Refuses the options among these that have no effect on samples with the settings `sampling`,
    /// of a process with discrete timesteps or in continuous time. Other options of samplers are
    /// refused by [`SamplerName::build`].
    ///
    /// # Errors
    /// [`Error::Config`] with the option and what it needs.
    pub fn check_effect(&self, sampling: &Sampling, discrete: bool) -> Result<()> {
        let refuse = |option: &str, needs: String| {
            Err(Error::Config(format!("{option} has no effect here: {needs}. Leave the option out")))
        };
        if self.spacing.is_some() && !discrete {
            return refuse("--spacing", "it is for models with discrete timesteps".into());
        }
        if let Some(needs) = sampling.sampler.ignores_spacing().filter(|_| self.spacing.is_some()) {
            return refuse("--spacing", needs);
        }
        if self.guidance_rescale.is_some_and(|rescale| rescale > 0.0) && [0.0, 1.0].contains(&sampling.guidance) {
            return refuse("--guidance-rescale", format!("it needs guidance, and --guidance is {}", sampling.guidance));
        }
        if self.guidance_interval.is_some() && [0.0, 1.0].contains(&sampling.guidance) {
            return refuse(
                "--guidance-interval",
                format!("it needs guidance, and --guidance is {}", sampling.guidance),
            );
        }
        Ok(())
    }
}

impl SamplerName {
    /// What the option `--spacing` needs, if the sampler chooses its times in another way.
    pub(crate) fn ignores_spacing(self) -> Option<String> {
        use SamplerName::{Ddim, Ddpm, DpmSolver};
        let visits_timesteps = [Ddpm, Ddim, DpmSolver].contains(&self);
        (!visits_timesteps).then(|| format!("it is for the samplers ddpm, ddim and dpm_solver, not {}", self.name()))
    }
}

impl Sampling {
    /// Refuses a class that has no effect, because the guidance is 0.
    ///
    /// # Errors
    /// [`Error::Config`] with the options.
    pub fn check_class(&self, class: Option<&str>) -> Result<()> {
        match class {
            Some(class) if self.guidance == 0.0 => Err(Error::Config(format!(
                "--class {class} has no effect here: --guidance 0 samples without labels. Leave one of the two out"
            ))),
            _ => Ok(()),
        }
    }
}
