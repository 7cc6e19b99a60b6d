//! Sampling settings: the sampler, its steps and the guidance.
//!
//! ```text
//! SamplingOptions   every field optional: command line, sweep point, checkpoint, run settings
//! Sampling          every field has a value: Sampling::resolve, the only place with rules
//! SamplingPlan      tables for one process: Sampling::plan
//! Generator         compiled for a denoiser on a device
//! ```

use super::denoiser::DenoiserSpec;
use super::guidance::{Guidance, GuidanceInterval};
use super::plan::SamplingPlan;
use super::prior::{DataMoments, late_start_warning, short_schedule_warning};
use super::process::Process;
use super::sampler::{SamplerOptions, StepSpec, Variance};
use super::samplers::SamplerName;
use super::spacing::Spacing;
use crate::output::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Sampling steps where neither the user nor the checkpoint sets a number.
const STEPS: u32 = 50;
/// Guidance scale where neither the user nor the checkpoint sets one, of a model with a null class.
const GUIDANCE: f32 = 1.5;

/// Sampling settings, all optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct SamplingOptions {
    /// Scale of classifier-free guidance, 1 for none [default: the run's, or 1.5 if the model has a
    /// null class]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub guidance: Option<f32>,
    /// Guidance rescale, phi of Lin et al. 2023, 0 to 1 [default: the run's, or 0]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub guidance_rescale: Option<f32>,
    /// Lowest and highest noise level sigma/alpha with guidance, such as 0.3,5 [default: the run's,
    /// or all]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, value_name = "LOW,HIGH"))]
    pub guidance_interval: Option<GuidanceInterval>,
    /// Sampler [default: the checkpoint's, or ddim, or euler for flow matching]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub sampler: Option<SamplerName>,
    /// Sampling steps [default: the run's, or 50]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long))]
    pub steps: Option<u32>,
    /// Options of the sampler.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub options: SamplerOptions,
    /// Spacing of the timesteps [default: the checkpoint's]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub spacing: Option<Spacing>,
    /// Added to the timesteps of the spacing `leading`. Only diffusers' scheduler_config.json sets
    /// it.
    #[serde(skip)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub steps_offset: Option<u32>,
    /// Bound on the predicted image, infinite for none. Only diffusers' scheduler_config.json sets
    /// it.
    #[serde(skip)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub clip: Option<f32>,
}

impl SamplingOptions {
    /// These options, completed by `defaults`. Sampler options of `defaults` are dropped if they
    /// belong to another sampler.
    pub fn or(self, defaults: SamplingOptions) -> SamplingOptions {
        let same = self.sampler.is_none() || self.sampler == defaults.sampler;
        SamplingOptions {
            guidance: self.guidance.or(defaults.guidance),
            guidance_rescale: self.guidance_rescale.or(defaults.guidance_rescale),
            guidance_interval: self.guidance_interval.or(defaults.guidance_interval),
            sampler: self.sampler.or(defaults.sampler),
            steps: self.steps.or(defaults.steps),
            options: if same { self.options.or(defaults.options) } else { self.options },
            spacing: self.spacing.or(defaults.spacing),
            steps_offset: self.steps_offset.or(defaults.steps_offset),
            clip: self.clip.or(defaults.clip),
        }
    }
}

/// Resolved sampling settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The sampler.
    pub sampler: SamplerName,
    /// Options of the sampler.
    pub options: SamplerOptions,
    /// Number of steps; the adaptive solver ignores it.
    pub steps: u32,
    /// Spacing of the timesteps of a discrete process.
    pub spacing: Spacing,
    /// Added to the timesteps of [`Spacing::Leading`].
    pub steps_offset: u32,
    /// Bound on the magnitude of the predicted image; infinite for none. The adaptive solver ignores
    /// it.
    pub clip: f32,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: f32,
    /// Guidance rescale, 0 to 1.
    pub guidance_rescale: f32,
    /// Noise levels with guidance; `None` for all.
    pub guidance_interval: Option<GuidanceInterval>,
    /// Moments of the training images, for the initial noise.
    pub data: Option<DataMoments>,
}

impl Sampling {
    /// Completes the user's options by the defaults of a checkpoint or a run, and checks them. Two
    /// defaults depend on the sampler: DDIM computes eps from the clipped image, and DDPM uses the
    /// learned variance if the network has one.
    ///
    /// # Errors
    /// [`Error::Config`] for guidance that the model does not support, a learned variance of a
    /// model without one, and a number of steps for the sampler `ode`, which chooses its own.
    pub fn resolve(asked: SamplingOptions, defaults: SamplingOptions, spec: &DenoiserSpec) -> Result<Sampling> {
        let all = asked.or(defaults);
        let sampler = all.sampler.unwrap_or(SamplerName::Ddim);
        let mut options = all.options;
        if sampler == SamplerName::Ddim {
            options.use_clipped_model_output.get_or_insert(true);
        }
        if sampler == SamplerName::Ddpm && spec.learned_variance {
            options.variance_type.get_or_insert(Variance::LearnedRange);
        }
        if options.variance_type == Some(Variance::LearnedRange) && !spec.learned_variance {
            return Err(Error::Config(
                "the variance learned_range needs a model that learned one (preset hybrid): use fixed_small".into(),
            ));
        }
        if sampler == SamplerName::Ode && asked.steps.is_some() {
            return Err(Error::Config(
                "--steps: the sampler ode chooses its steps itself, by --rtol and --atol".into(),
            ));
        }
        let guidance_rescale = all.guidance_rescale.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&guidance_rescale) {
            return Err(Error::Config(format!("--guidance-rescale {guidance_rescale} must be between 0 and 1")));
        }
        Ok(Sampling {
            sampler,
            options,
            steps: all.steps.unwrap_or(STEPS),
            spacing: all.spacing.unwrap_or_default(),
            steps_offset: all.steps_offset.unwrap_or(0),
            clip: all.clip.unwrap_or(1.0),
            guidance: guidance(all.guidance, spec)?,
            guidance_rescale,
            guidance_interval: all.guidance_interval,
            data: spec.data,
        })
    }

    /// The plan for a process, with warnings for the user. If the data are known, the initial noise
    /// has the moments of noised images ([`SamplingPlan::from_data`]).
    ///
    /// # Errors
    /// See [`SamplerName::build`] and [`SamplingPlan::new`].
    pub fn plan(&self, process: &dyn Process) -> Result<(SamplingPlan, Vec<String>)> {
        let sampler = self.sampler.build(&self.options)?;
        let (mut plan, mut warnings) = SamplingPlan::new(&*sampler, process, &self.step_spec(), self.clip)
            .map_err(|problem| Error::Config(format!("sampler {}: {problem}", self.sampler.name())))?;
        warnings.extend(short_schedule_warning(process, self.data));
        // Samplers without spacing choose their first time themselves.
        let first = plan.first_time().filter(|_| self.sampler.ignores_spacing().is_none());
        warnings.extend(first.and_then(|first| late_start_warning(process, first, self.data)));
        if let Some(data) = self.data {
            plan = plan.from_data(process, data);
        }
        Ok((plan, warnings))
    }

    /// The classifier-free guidance of these settings.
    pub fn guidance(&self) -> Guidance<'static> {
        // Without labels there is nothing to restrict to an interval.
        let interval = self.guidance_interval.filter(|_| self.guidance != 0.0);
        Guidance { scale: self.guidance, rescale: self.guidance_rescale, interval, classifier: None }
    }

    /// Number and spacing of the steps.
    pub fn step_spec(&self) -> StepSpec {
        StepSpec { steps: self.steps, spacing: self.spacing, offset: self.steps_offset }
    }

    /// Whether the sampler chooses its own steps.
    pub fn adaptive(&self) -> bool {
        self.sampler == SamplerName::Ode
    }

    /// Describes the sampler and its steps for messages.
    pub fn describe(&self) -> String {
        let title = match self.sampler {
            SamplerName::Ddpm => "DDPM",
            SamplerName::Ddim => "DDIM",
            other => other.name(),
        };
        if self.adaptive() {
            format!("adaptive steps of {title}")
        } else {
            format!("{} of {title}", counted(self.steps, "step"))
        }
    }

    /// The settings besides sampler, steps and guidance scale that are set and not the usual ones, as
    /// text. Empty for none.
    pub(crate) fn other_settings(&self) -> String {
        let Sampling { guidance_rescale, spacing, steps_offset, clip, .. } = *self;
        let interval = self.guidance().interval;
        let mut settings = vec![
            interval.map(|GuidanceInterval([low, high])| format!("guidance_interval {low} to {high}")),
            (guidance_rescale != 0.0).then(|| format!("guidance_rescale {guidance_rescale}")),
            (spacing != Spacing::Trailing && self.sampler.ignores_spacing().is_none())
                .then(|| format!("spacing {}", spacing.name())),
            (steps_offset != 0).then(|| format!("steps_offset {steps_offset}")),
            (clip != 1.0).then(|| format!("clip {clip}")),
        ];
        let usual = |key: &str, value: &Value| {
            let on = ["use_clipped_model_output", "set_alpha_to_one"].contains(&key) && value == &Value::Bool(true);
            on || key == "eta" && value.as_f64() == Some(0.0)
        };
        let of_sampler = self.options.set().into_iter().filter(|(key, value)| !usual(key, value));
        settings.extend(of_sampler.map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            Some(format!("{key} {value}"))
        }));
        settings.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl From<Sampling> for SamplingOptions {
    fn from(sampling: Sampling) -> SamplingOptions {
        SamplingOptions {
            guidance: Some(sampling.guidance),
            guidance_rescale: Some(sampling.guidance_rescale),
            guidance_interval: sampling.guidance_interval,
            sampler: Some(sampling.sampler),
            steps: Some(sampling.steps),
            options: sampling.options,
            spacing: Some(sampling.spacing),
            steps_offset: Some(sampling.steps_offset),
            clip: Some(sampling.clip),
        }
    }
}

/// The guidance scale, checked against the model.
fn guidance(scale: Option<f32>, spec: &DenoiserSpec) -> Result<f32> {
    let null_class = spec.labels.and_then(|labels| labels.null_class());
    let scale = scale.unwrap_or(if null_class.is_some() { GUIDANCE } else { 1.0 });
    match spec.labels {
        Some(labels) => labels.guided(scale).map(|_| scale),
        None if scale == 1.0 => Ok(scale),
        None => Err(Error::Config(format!(
            "--guidance {scale}: the model was trained without classes, so there is nothing to guide by"
        ))),
    }
}
