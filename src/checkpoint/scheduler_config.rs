//! `scheduler/scheduler_config.json` of a diffusers pipeline: the schedule, the prediction target,
//! and a sampler.
//!
//! A value that changes the model and is not supported is an error that names the key, the value
//! and the supported values. Keys that are not used are returned, for the caller to print: keys
//! that are not known, and keys of the steps of a class that is replaced with DDIM.

use super::python_json::{self, quote_non_finite};
use super::scheduler_class::{self, SchedulerClass};
use crate::diffusion::{
    BetaRange, BetaSchedule, Discrete, NoiseSchedule, Prediction, SamplerName, SamplerOptions, Sampling,
    SamplingOptions, SamplingPlan, Spacing,
};
use crate::files::write_atomically;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::path::Path;

type Checked<T> = std::result::Result<T, String>;

/// The settings of a diffusers scheduler. The defaults are the same as in `DDPMScheduler`.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerConfig {
    /// How the betas are chosen.
    pub schedule: BetaSchedule,
    /// T, the number of training timesteps.
    pub timesteps: u32,
    /// Whether the schedule is rescaled to end in pure noise.
    pub zero_terminal_snr: bool,
    /// Prediction target of the model.
    pub prediction: Prediction,
    /// Bound on the predicted image, if any.
    pub clip: Option<f32>,
    /// How the sampler's timesteps are chosen.
    pub spacing: Spacing,
    /// Added to the timesteps of [`Spacing::Leading`].
    pub steps_offset: u32,
    /// The sampler.
    pub sampler: SamplerName,
    /// Options of the sampler.
    pub options: SamplerOptions,
}

impl Default for SchedulerConfig {
    fn default() -> SchedulerConfig {
        SchedulerConfig {
            schedule: BetaSchedule::default(),
            timesteps: 1000,
            zero_terminal_snr: false,
            prediction: Prediction::Epsilon,
            clip: Some(1.0),
            spacing: Spacing::Leading,
            steps_offset: 0,
            sampler: SamplerName::Ddpm,
            options: SamplerOptions::default(),
        }
    }
}

/// Takes a key out of the map, if it is there.
fn take<T: DeserializeOwned>(map: &mut Map<String, Value>, key: &str) -> Checked<Option<T>> {
    let Some(value) = map.remove(key) else { return Ok(None) };
    let shown = value.to_string();
    serde_json::from_value(value).map(Some).map_err(|problem| format!("`{key}` = {shown} is not supported: {problem}"))
}

impl SchedulerConfig {
    /// Reads a config from JSON. Also returns the keys that are not used.
    ///
    /// # Errors
    /// A message for text that is not JSON, for a value that is not supported, and for values that
    /// do not fit each other.
    pub fn from_json(text: &str) -> Checked<(SchedulerConfig, Vec<String>)> {
        let mut map: Map<String, Value> =
            serde_json::from_str(&quote_non_finite(text)).map_err(|e| format!("not a JSON object: {e}"))?;
        let config = SchedulerConfig::from_map(&mut map)?;
        config.noise_schedule().map_err(|problem| problem.to_string())?;
        Ok((config, map.into_iter().map(|(key, _)| key).filter(|key| !key.starts_with('_')).collect()))
    }

    fn from_map(map: &mut Map<String, Value>) -> Checked<SchedulerConfig> {
        let name = match map.remove("_class_name") {
            None => SamplerName::Ddpm.class().to_string(),
            Some(Value::String(name)) => name,
            Some(other) => return Err(format!("`_class_name` = {other} is not supported: it must be a name")),
        };
        let class = scheduler_class::find(&name, map)?;
        let sampler = class.sampler.unwrap_or(SamplerName::Ddim);
        scheduler_class::take_fixed(map)?;
        let thresholds = threshold(map)?;
        if sampler != SamplerName::Ddpm
            && let Some(variance) = map.get("variance_type").filter(|variance| is_learned(variance))
        {
            return Err(format!(
                "`variance_type` = {variance} is not supported with {name}: only DDPMScheduler has a learned variance"
            ));
        }

        // A class without a sampler here keeps its keys, which are returned.
        let keys = class.sampler.map_or(&[][..], SamplerName::keys);
        let own = keys.iter().filter_map(|&key| Some((key.to_string(), map.remove(key)?))).collect::<Map<_, _>>();
        let shown = Value::Object(own.clone()).to_string();
        let options =
            serde_json::from_value(Value::Object(own)).map_err(|e| format!("{shown} is not supported: {e}"))?;

        let default = SchedulerConfig::default();
        let clips = take(map, "clip_sample")?.unwrap_or(true) || thresholds;
        let range = take(map, "clip_sample_range")?.unwrap_or(1.0);
        Ok(SchedulerConfig {
            schedule: schedule(map, class)?,
            timesteps: take(map, "num_train_timesteps")?.unwrap_or(default.timesteps),
            zero_terminal_snr: take(map, "rescale_betas_zero_snr")?.unwrap_or(false),
            prediction: take(map, "prediction_type")?.unwrap_or_default(),
            clip: clips.then_some(if thresholds { 1.0 } else { range }),
            spacing: spacing(map, class)?,
            steps_offset: take(map, "steps_offset")?.unwrap_or(0),
            sampler,
            options,
        })
    }

    /// Reads a config file. Also returns the keys that are not used, for the caller to print.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
    pub fn read(path: &Path) -> Result<(SchedulerConfig, Vec<String>)> {
        let text = python_json::read(path)?;
        SchedulerConfig::from_json(&text).map_err(|problem| Error::file(path, problem))
    }

    /// Writes the config as a file that diffusers loads.
    ///
    /// # Errors
    /// [`Error::Io`], with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.to_json().as_bytes())
    }

    /// The config as diffusers reads it. eta has no key, because diffusers takes that of DDIM as an
    /// argument of each step. A sampler without a class in diffusers is written as
    /// [`SamplerName::Ddpm`].
    pub fn to_json(&self) -> String {
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.into(), value);
        put("_class_name", self.sampler.class().into());
        put("_diffusers_version", "0.42.1".into());
        put("num_train_timesteps", self.timesteps.into());
        put("prediction_type", json!(self.prediction));
        put("timestep_spacing", json!(self.spacing));
        put("steps_offset", self.steps_offset.into());
        put("clip_sample", self.clip.is_some().into());
        put("clip_sample_range", short(self.clip.unwrap_or(1.0)));
        put("thresholding", false.into());
        put("rescale_betas_zero_snr", self.zero_terminal_snr.into());
        let options = serde_json::to_value(self.options).expect("options can be written as JSON");
        for (key, value) in
            options.as_object().into_iter().flatten().filter(|(key, _)| self.sampler.keys().contains(&key.as_str()))
        {
            put(key, value.clone());
        }
        for (key, value) in beta_keys(&self.schedule, self.timesteps, self.sampler) {
            put(key, value);
        }
        format!("{:#}\n", Value::Object(map))
    }

    /// The noise schedule, checked against the prediction target.
    ///
    /// # Errors
    /// See [`NoiseSchedule::new`] and [`Prediction::check`].
    pub fn noise_schedule(&self) -> Result<NoiseSchedule> {
        let noise = NoiseSchedule::new(&self.schedule, self.timesteps, self.zero_terminal_snr)?;
        self.prediction.check(&noise)?;
        Ok(noise)
    }

    /// The discrete process that the config describes.
    ///
    /// # Errors
    /// See [`SchedulerConfig::noise_schedule`].
    pub fn process(&self) -> Result<Discrete> {
        Discrete::new(NoiseSchedule::new(&self.schedule, self.timesteps, self.zero_terminal_snr)?, self.prediction)
    }

    /// The sampler settings.
    pub fn sampling_options(&self) -> SamplingOptions {
        SamplingOptions {
            sampler: Some(self.sampler),
            options: self.options,
            spacing: Some(self.spacing),
            steps_offset: Some(self.steps_offset),
            clip: Some(self.clip.unwrap_or(f32::INFINITY)),
            ..SamplingOptions::default()
        }
    }

    /// The plan of the config's sampler with `steps` steps, as in diffusers except for DDIM's and
    /// DDPM's last steps (docs/models.md), with warnings for the user.
    ///
    /// # Errors
    /// See [`SchedulerConfig::process`] and [`Sampling::plan`].
    pub fn plan(&self, steps: u32) -> Result<(SamplingPlan, Vec<String>)> {
        let sampling = Sampling {
            sampler: self.sampler,
            options: self.options,
            steps,
            spacing: self.spacing,
            steps_offset: self.steps_offset,
            clip: self.clip.unwrap_or(f32::INFINITY),
            guidance: 1.0,
            guidance_rescale: 0.0,
            guidance_interval: None,
            data: None,
        };
        sampling.plan(&self.process()?)
    }
}

/// A bound as the shortest decimal: 0.1f32 is 0.1, not 0.10000000149.
fn short(clip: f32) -> Value {
    clip.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Whether the config bounds the image by dynamic thresholding (Saharia et al. 2022), which is
/// clipping to [-1, 1] with `sample_max_value` 1. With another value the key stays in the map, for
/// the caller to print that it is replaced.
fn threshold(map: &mut Map<String, Value>) -> Checked<bool> {
    let thresholds = take(map, "thresholding")?.unwrap_or(false);
    let largest: f64 = take(map, "sample_max_value")?.unwrap_or(1.0);
    map.remove("dynamic_thresholding_ratio");
    if thresholds && largest != 1.0 {
        map.insert("thresholding".into(), true.into());
    }
    Ok(thresholds)
}

fn is_learned(variance: &Value) -> bool {
    variance.as_str().is_some_and(|name| name.starts_with("learned"))
}

/// The spacing of the timesteps.
fn spacing(map: &mut Map<String, Value>, class: SchedulerClass) -> Checked<Spacing> {
    Ok(take(map, "timestep_spacing")?.unwrap_or(class.spacing))
}

fn schedule(map: &mut Map<String, Value>, class: SchedulerClass) -> Checked<BetaSchedule> {
    let beta_start = take(map, "beta_start")?.unwrap_or(class.betas[0]);
    let beta_end = take(map, "beta_end")?.unwrap_or(class.betas[1]);
    let name = map.remove("beta_schedule").unwrap_or_else(|| "linear".into());
    if let Some(betas) = take::<Option<Vec<f64>>>(map, "trained_betas")?.flatten() {
        return Ok(BetaSchedule::Given { betas });
    }
    // Diffusers does not rescale the betas, whatever the number of timesteps.
    let range = BetaRange { beta_start, beta_end, rescale: false };
    match name.as_str() {
        Some("linear") => Ok(BetaSchedule::Linear(range)),
        Some("scaled_linear") => Ok(BetaSchedule::ScaledLinear(range)),
        Some("squaredcos_cap_v2") => Ok(BetaSchedule::Cosine),
        Some("sigmoid") => Ok(BetaSchedule::Sigmoid(range)),
        _ => Err(format!(
            "`beta_schedule` = {name} is not supported: it must be linear, scaled_linear, squaredcos_cap_v2 or sigmoid"
        )),
    }
}

/// The keys of the betas. A rescaled range is written with its rescaled values. Betas that
/// diffusers cannot name are written one by one.
fn beta_keys(schedule: &BetaSchedule, timesteps: u32, sampler: SamplerName) -> Vec<(&'static str, Value)> {
    let (name, range) = match schedule {
        BetaSchedule::Linear(range) => ("linear", *range),
        BetaSchedule::ScaledLinear(range) => ("scaled_linear", *range),
        BetaSchedule::Sigmoid(range) if sampler.class() == SamplerName::Ddpm.class() => ("sigmoid", *range),
        BetaSchedule::Cosine => ("squaredcos_cap_v2", BetaRange::default()),
        BetaSchedule::Sigmoid(_) | BetaSchedule::LogSnr(_) | BetaSchedule::Given { .. } => {
            return vec![("beta_schedule", "linear".into()), ("trained_betas", json!(schedule.betas(timesteps)))];
        }
    };
    let [start, end] = if *schedule == BetaSchedule::Cosine {
        [range.beta_start, range.beta_end]
    } else {
        range.for_timesteps(timesteps)
    };
    vec![
        ("beta_schedule", name.into()),
        ("beta_start", start.into()),
        ("beta_end", end.into()),
        ("trained_betas", Value::Null),
    ]
}
