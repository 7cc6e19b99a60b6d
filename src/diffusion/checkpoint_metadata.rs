//! `degrain.json` of a checkpoint: what diffusers' files have no place for.

use super::guidance::Labels;
use super::processes::ProcessConfig;
use super::sampler::SamplerOptions;
use super::samplers::SamplerName;
use crate::files::write_atomically;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What diffusers' files have no place for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// Steps trained.
    pub step: u32,
    /// Seconds spent on them.
    pub seconds: RunSeconds,
    /// Name of the data set.
    pub dataset: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// What the model knows of labels: what guidance needs.
    pub labels: Option<Labels>,
    /// The process; that of discrete time steps stands in scheduler_config.json.
    #[serde(default)]
    pub process: ProcessConfig,
    /// Whether the network answers a variance in a second half of channels.
    #[serde(default)]
    pub learned_variance: bool,
    /// Smallest standard deviation of the decoder of a learned variance at time step 0; 0 for that of the other time steps, as published.
    #[serde(default)]
    pub decoder_min_std: f64,
    /// How the run drew its samples: what `sample` does unless told otherwise.
    #[serde(default)]
    pub sampling: Option<Sampling>,
}

/// Seconds of wall time that a run has spent, over all its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSeconds {
    /// On training steps and checkpoints.
    pub trained: f64,
    /// On validations and evaluations.
    pub evaluated: f64,
    /// On grids of samples.
    pub sampled: f64,
}

/// A way of drawing samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// The sampler.
    pub sampler: SamplerName,
    /// Its options.
    pub options: SamplerOptions,
    /// Number of steps.
    pub steps: u32,
    /// Scale of classifier-free guidance.
    pub guidance: f32,
}

impl CheckpointMetadata {
    /// Its name in a checkpoint's folder.
    pub const FILE: &str = "degrain.json";

    /// Reads it from a checkpoint's folder; nothing, if that was made by others.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(folder: &Path) -> Result<Option<CheckpointMetadata>> {
        let path = folder.join(CheckpointMetadata::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| Error::file(&path, e.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Writes it into a checkpoint's folder.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))?;
        write_atomically(&folder.join(CheckpointMetadata::FILE), format!("{text}\n").as_bytes())
    }

    /// The class that is asked for by name or number.
    ///
    /// # Errors
    /// There is no such class: with those that are.
    pub fn class(&self, wanted: &str) -> Result<u32> {
        let names = &self.class_names;
        let by_name = names.iter().position(|name| name == wanted);
        let class = by_name.or(wanted.parse().ok().filter(|&class| class < names.len()));
        class.map(|class| class as u32).ok_or_else(|| {
            Error::Config(format!("--class {wanted}: there is no such class; there are: {}", names.join(", ")))
        })
    }

    /// Whether it can belong to a model that knows so many classes.
    pub(super) fn check(&self, classes: u32) -> std::result::Result<(), String> {
        let (rows, named) = (self.labels.map_or(0, |labels| labels.embeddings()), self.class_names.len());
        let belongs = match self.labels {
            Some(labels) => rows <= classes && named == labels.classes as usize && named > 0,
            None => classes == 0,
        };
        match belongs {
            true => Ok(()),
            false => Err(format!(
                "{named} classes and {rows} labels do not fit the model's table of {classes}: it belongs to another model, or is damaged"
            )),
        }
    }
}
