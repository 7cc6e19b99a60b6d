//! `degrain.json` of a checkpoint: metadata that diffusers' files cannot hold.

use crate::diffusion::{DenoiserSpec, ProcessConfig, SamplingOptions};
use crate::files::write_atomically;
use crate::output::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Metadata that diffusers' files cannot hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointMetadata {
    /// Name of the run that wrote the checkpoint, as in its manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Steps trained.
    pub step: u32,
    /// Seconds spent on them.
    pub seconds: RunSeconds,
    /// Name of the data set; empty if it is unknown.
    pub dataset: String,
    /// SHA-256 of the data set ([`Dataset::sha256`](crate::data::Dataset::sha256)), if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_sha256: Option<String>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Number of training images of each class; empty if it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_counts: Vec<u64>,
    /// The process. scheduler_config.json describes the discrete process.
    #[serde(default)]
    pub process: ProcessConfig,
    /// Labels and variance that a denoiser was trained with.
    #[serde(default)]
    pub denoiser: DenoiserSpec,
    /// The run's sampling settings: the defaults of `sample`, `edit` and `evaluate`.
    #[serde(default)]
    pub sampling: SamplingOptions,
}

/// Seconds of wall time that a run has spent, including the time before it was resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSeconds {
    /// Seconds of training steps and checkpoints.
    pub trained: f64,
    /// Seconds of validations and evaluations.
    pub evaluated: f64,
    /// Seconds of grids of samples.
    pub sampled: f64,
}

impl CheckpointMetadata {
    /// The file's name in a checkpoint's folder.
    pub const FILE: &str = "degrain.json";
    /// The number of the file's format, its key `format`. The first edition of degrain wrote none.
    const FORMAT: u32 = 2;

    /// Reads the file from a checkpoint's folder; `None` if the folder was not written by degrain.
    ///
    /// # Errors
    /// A damaged file, and a file of an earlier version of degrain.
    pub fn read(folder: &Path) -> Result<Option<CheckpointMetadata>> {
        let path = folder.join(CheckpointMetadata::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => CheckpointMetadata::from_json(&text).map(Some).map_err(|problem| Error::file(&path, problem)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    fn from_json(text: &str) -> std::result::Result<CheckpointMetadata, String> {
        let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let format = value.as_object_mut().and_then(|map| map.remove("format"));
        if value.is_object() && format != Some(CheckpointMetadata::FORMAT.into()) {
            return Err("was written by another version of degrain, whose settings and files have other names. \
                        Train the model again with this version"
                .into());
        }
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    /// Writes the file into a checkpoint's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut value = serde_json::to_value(self).map_err(|e| Error::Config(e.to_string()))?;
        value["format"] = CheckpointMetadata::FORMAT.into();
        write_atomically(&folder.join(CheckpointMetadata::FILE), format!("{value:#}\n").as_bytes())
    }

    /// Finds a class by name. A number is the index of a class only if no class has a number as its
    /// name: with the classes 0, 1 and 3, it is not clear whether 2 is a mistake or means 3.
    ///
    /// ```
    /// # use degrain::checkpoint::CheckpointMetadata;
    /// let classes = |names: &[&str]| CheckpointMetadata {
    ///     class_names: names.iter().map(|name| name.to_string()).collect(),
    ///     ..CheckpointMetadata::default()
    /// };
    /// assert_eq!(classes(&["cat", "dog"]).class("dog")?, 1);
    /// assert_eq!(classes(&["cat", "dog"]).class("1")?, 1);
    /// assert_eq!(classes(&["0", "1", "3"]).class("3")?, 2);
    /// assert!(classes(&["0", "1", "3"]).class("2").is_err());
    /// # Ok::<(), degrain::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a class that does not exist. The message lists the classes.
    pub fn class(&self, wanted: &str) -> Result<u32> {
        let names = &self.class_names;
        let by_name = names.iter().position(|name| name == wanted);
        let numbered = names.iter().any(|name| name.parse::<i64>().is_ok());
        let class = by_name.or(wanted.parse().ok().filter(|&class| !numbered && class < names.len()));
        class.map(|class| class as u32).ok_or_else(|| {
            Error::Config(format!("--class {wanted}: there is no such class; there are: {}", names.join(", ")))
        })
    }

    /// A class that was found as `wanted`, for messages: with its name if `wanted` is its number.
    pub fn describe_class(&self, wanted: &str, class: u32) -> String {
        match self.class_names.get(class as usize) {
            Some(name) if name != wanted => format!("class {wanted} ({name})"),
            _ => format!("class {wanted}"),
        }
    }

    /// Checks the metadata against a denoiser whose class embedding has `classes` rows.
    pub(super) fn check(&self, classes: u32) -> std::result::Result<(), String> {
        let labels = self.denoiser.labels;
        let (rows, named) = (labels.map_or(0, |labels| labels.embeddings()), self.class_names.len());
        let belongs = match labels {
            Some(labels) => rows <= classes && named == labels.classes as usize && named > 0,
            None => classes == 0,
        };
        if belongs {
            return Ok(());
        }
        Err(format!(
            "{} and {} do not fit the model's table of {classes}: it belongs to another model, or is damaged",
            counted(named, "class"),
            counted(rows, "label")
        ))
    }
}
