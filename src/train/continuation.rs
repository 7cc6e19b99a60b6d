//! Compares a resumed run with what it was started with.

use super::config::{Config, Settings};
use super::manifest::{self, Manifest};
use super::trainer::Trainer;
use crate::{Error, Result};
use std::fs;

/// Settings that change how a run continues, but not what its weights mean. All other settings must
/// stay as they were.
const FREE: &[&str] = &[
    // The data set is compared by its content.
    "data",
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
    "random_flip",
    "storage",
    "validation_count",
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
    "guidance",
    "guidance_rescale",
];

/// Settings that only say where something is.
const PLACES: &[&str] = &["data", "out"];

impl Trainer {
    /// The settings that differ from those with which the run was last started, such as
    /// `batch: 32 -> 64`.
    ///
    /// # Errors
    /// Another data set, or a setting that changes the meaning of the weights.
    pub(super) fn differences(&self) -> Result<Vec<String>> {
        let file = self.config.out.join("config.toml");
        let before = Settings::read(&file)?.resolve(self.ctx.target().variant)?;
        let before = table(&before)?;
        let after = table(&self.config)?;
        let mut changed = vec![];
        for (key, now) in &after {
            let then = before.get(key);
            if then == Some(now) || PLACES.contains(&key.as_str()) {
                continue;
            }
            let then = then.map_or("nothing".into(), toml::Value::to_string);
            if !FREE.contains(&key.as_str()) {
                return Err(Error::Config(format!(
                    "--{}: {} was trained with {then}, and {now} would change what its weights mean. Resume it without \
                     this option, or start another run with another --out",
                    key.replace('_', "-"),
                    self.config.out.display()
                )));
            }
            changed.push(format!("{key}: {then} -> {now}"));
        }
        self.check_data()?;
        Ok(changed)
    }

    /// Compares the content of the data set with the manifest's.
    fn check_data(&self) -> Result<()> {
        let path = self.config.out.join(manifest::FILE);
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        let sums = |files: &[manifest::DataFile]| files.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>();
        let now = Manifest::data_of(&self.dataset);
        if sums(&manifest.data.files) == sums(&now.files) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} was trained on other data: {} images of {}, and {} now holds {} images with another SHA-256. Name the \
             run's data with --data, or start another run with another --out",
            self.config.out.display(),
            manifest.data.images,
            manifest.data.name,
            self.config.data.display(),
            now.images,
        )))
    }
}

fn table(config: &Config) -> Result<toml::Table> {
    toml::Table::try_from(config).map_err(|e| Error::Config(format!("the settings cannot be written as TOML: {e}")))
}
