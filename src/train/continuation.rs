//! Compares a resumed run with what it was started with.

use super::config::{Config, Settings, Size};
use super::latents::latent_mixture_path;
use super::log_entry::LogEntry;
use super::manifest::Manifest;
use super::run_log::grid_path;
use super::trainer::{Trainer, all_checkpoints};
use crate::checkpoint::CheckpointMetadata;
use crate::output::{counted, jsonl, shortest};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Settings that change how a run continues, but not what its weights mean. All other settings must
/// stay as they were.
const FREE: &[&str] = &[
    // The data set is compared by its content.
    "data",
    "skip_damaged",
    "out",
    "seed",
    "steps",
    "batch",
    "lr",
    "warmup",
    "lr_schedule",
    "beta1",
    "beta2",
    "adam_epsilon",
    "weight_decay",
    "max_grad_norm",
    "ema_decay",
    "vlb_weight",
    "loss_weighting",
    "label_dropout",
    "dropout",
    "kl_weight",
    "latent_components",
    "random_flip",
    "storage",
    "validate_every",
    "sample_every",
    "checkpoint_every",
    "evaluate_every",
    "evaluate_count",
    "feature_extractor",
    "keep_checkpoints",
    "sampler",
    "sampling_steps",
    "spacing",
    "variance",
    "eta",
    "guidance",
    "guidance_rescale",
];

/// Settings that only say where something is.
const PLACES: &[&str] = &["data", "out"];

/// A path for `--resume`: the folder of a run, or one of its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePath {
    /// The folder of the run.
    pub run: PathBuf,
    /// The step of the checkpoint; `None` for the last one.
    pub step: Option<u32>,
}

impl ResumePath {
    /// Splits `RUN/checkpoint-STEP` into the run and the step. Every other path is a run.
    ///
    /// ```
    /// use degrain::train::ResumePath;
    /// use std::path::Path;
    ///
    /// let path = ResumePath::new(Path::new("runs/digits/checkpoint-500"));
    /// assert_eq!((path.run.to_str(), path.step), (Some("runs/digits"), Some(500)));
    /// let path = ResumePath::new(Path::new("runs/digits"));
    /// assert_eq!((path.run.to_str(), path.step), (Some("runs/digits"), None));
    /// ```
    pub fn new(path: &Path) -> ResumePath {
        let name = path.file_name().and_then(|name| name.to_str());
        let step = name.and_then(|name| name.strip_prefix("checkpoint-")?.parse().ok());
        match (step, path.parent()) {
            // A run can have such a name too.
            (Some(step), Some(run)) if !path.join("config.toml").is_file() => {
                let here = run.as_os_str().is_empty();
                ResumePath { run: if here { ".".into() } else { run.into() }, step: Some(step) }
            }
            _ => ResumePath { run: path.into(), step: None },
        }
    }
}

impl Settings {
    /// Refuses settings that would make another run of `run`, which these settings resume. Call it for
    /// settings that a [`Trainer`] refuses: if a run is resumed with `--process flow`, the
    /// reason is not that the run's sampler does not fit.
    ///
    /// # Errors
    /// [`Error::Config`] with the option.
    pub fn check_resumption(&self, run: &Path) -> Result<()> {
        let Ok(after) = self.clone().complete() else { return Ok(()) };
        earlier_config(run, after.size).map_or(Ok(()), |before| differences(run, &before, &after).map(|_| ()))
    }
}

impl Trainer {
    /// The settings with which a run was last started.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn earlier_config(&self, run: &Path) -> Result<Config> {
        earlier_config(run, self.config.size)
    }

    /// The settings that differ from those with which a run was last started, such as
    /// `batch: 32 -> 64`.
    ///
    /// # Errors
    /// Another data set, or a setting that changes the meaning of the weights.
    pub(super) fn differences(&self, run: &Path, before: &Config) -> Result<Vec<String>> {
        let changed = differences(run, before, &self.config)?;
        self.check_data(run)?;
        Ok(changed)
    }

    /// The checkpoint of a run after `step` steps, with this number.
    ///
    /// # Errors
    /// A checkpoint that the run does not have, or that cannot be restored.
    pub(super) fn checkpoint_of(&self, run: &Path, step: u32) -> Result<(u32, PathBuf)> {
        let all = all_checkpoints(run)?;
        let Some(checkpoint) = all.iter().find(|(number, _)| *number == step) else {
            let there: Vec<String> = all.iter().map(|(number, _)| format!("checkpoint-{number}")).collect();
            let problem = format!("holds no complete checkpoint-{step}; there are: {}", there.join(", "));
            return Err(Error::file(run, problem));
        };
        self.check_state(&checkpoint.1)?;
        Ok(checkpoint.clone())
    }

    /// Refuses a data set whose SHA-256 differs from the one in the manifest, or in the last
    /// checkpoint if there is no manifest.
    ///
    /// # Errors
    /// Another data set; a file that cannot be read.
    fn check_data(&self, run: &Path) -> Result<()> {
        let (sha256, before) = match Manifest::read(run)? {
            Some(Manifest { data, .. }) => {
                (Some(data.sha256), format!("{} of {}", counted(data.images, "image"), data.name))
            }
            None => {
                let last = all_checkpoints(run)?.pop();
                let metadata =
                    last.map_or(Ok(None), |(_, folder)| CheckpointMetadata::read(&folder))?.unwrap_or_default();
                (metadata.data_sha256, metadata.dataset)
            }
        };
        if sha256.is_none_or(|sha256| sha256 == self.data_sha256) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} was trained on other data: {before}, and {} now holds {} with another SHA-256. Name the run's data with \
             --data, or start another run with another --out",
            run.display(),
            self.config.data.display(),
            counted(self.dataset.count, "image"),
        )))
    }

    /// Whether the measurements and pictures of a run after the last step, `step`, were made. A run
    /// that was killed between its last checkpoint and its end lacks some.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub(super) fn is_complete(&self, folder: &Path, step: u32) -> Result<bool> {
        let path = folder.join("log.jsonl");
        let entries: Vec<LogEntry> = if path.exists() { jsonl::read(&path)? } else { vec![] };
        let has = |wanted: fn(&LogEntry) -> bool| entries.iter().any(|entry| entry.step() == step && wanted(entry));
        let generative = self.objective.generative();
        let validated = self.config.validation_count == 0 || has(|entry| matches!(entry, LogEntry::Validation { .. }));
        let evaluated = self.config.evaluate_every == 0
            || generative.is_none()
            || has(|entry| matches!(entry, LogEntry::Evaluation { .. }));
        let sampled = generative.is_none() || grid_path(folder, "raw", step).exists();
        let noised = generative.is_some_and(|model| !model.forward_process(2).is_empty());
        let fits = generative.is_some_and(|model| model.latent_components() > 0);
        let fitted = !fits || latent_mixture_path(folder, step).exists();
        Ok(validated && evaluated && sampled && fitted && (!noised || folder.join("reverse.png").exists()))
    }
}

/// The settings with which a run was last started.
fn earlier_config(run: &Path, size: Size) -> Result<Config> {
    // A user can edit config.toml.
    let recorded = Manifest::read(run)?.and_then(|manifest| manifest.settings().cloned());
    let settings = match recorded {
        Some(settings) => settings,
        None => Settings::read(&run.join("config.toml"))?,
    };
    settings.of_earlier_version().resolve(size)
}

/// The settings that differ, without places.
fn differences(run: &Path, before: &Config, after: &Config) -> Result<Vec<String>> {
    let run = run.display();
    let (before, after) = (table(before)?, table(after)?);
    let mut changed = vec![];
    for (key, now) in &after {
        let then = before.get(key);
        if then == Some(now) || PLACES.contains(&key.as_str()) {
            continue;
        }
        let (then, now) = (then.map_or("nothing".into(), show), show(now));
        if !FREE.contains(&key.as_str()) {
            return Err(Error::Config(format!(
                "--{}: {run} was started with {then}, and {now} would make it another run. Resume it without this option, \
                 or start another run with another --out",
                key.replace('_', "-")
            )));
        }
        changed.push(format!("{key}: {then} -> {now}"));
    }
    Ok(changed)
}

fn show(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(number) => shortest(*number),
        value => value.to_string(),
    }
}

/// The settings as TOML, without those that only say where something is.
///
/// # Errors
/// Settings that cannot be written as TOML.
pub(super) fn without_places(config: &Config) -> Result<String> {
    let mut settings = table(config)?;
    settings.retain(|key, _| !PLACES.contains(&key));
    Ok(settings.to_string())
}

fn table(config: &Config) -> Result<toml::Table> {
    toml::Table::try_from(config).map_err(|e| Error::Config(format!("the settings cannot be written as TOML: {e}")))
}
