//! `manifest.json` and `config.toml` of a run folder: everything needed to repeat the run.

use super::config::Settings;
use super::origin::{Origin, Taken};
use super::run_name;
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::files::{shell_quoted, write_atomically};
use crate::gpu::KernelChoices;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Name of the manifest in a run folder.
pub(super) const FILE: &str = "manifest.json";

/// What a run was made from. The file has an entry for each start: the first, and one for each
/// resumption.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Name of the run, which its checkpoints have too. Missing in a run of an earlier version.
    #[serde(default)]
    pub run: Option<String>,
    /// Where the first weights come from, for a run that started from those of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    pub data: Data,
    /// Number of parameters of the model.
    parameters: usize,
    /// Empty in a run that was made before starts were recorded.
    #[serde(default)]
    starts: Vec<Start>,
}

/// The data set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Data {
    pub name: String,
    /// SHA-256 of the data set.
    pub sha256: String,
    pub images: usize,
    pub files: Vec<ManifestFile>,
}

/// A file of the data set.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    path: String,
    sha256: String,
    /// Name of a published file with this content.
    known_as: Option<String>,
}

/// A start of the run.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    /// Finished steps of the checkpoint that it continued from; 0 for the first start.
    step: u32,
    /// Settings that changed since the previous start, such as `batch: 32 -> 64`.
    changed: Vec<String>,
    /// All settings; missing in a start of an earlier version.
    #[serde(default)]
    settings: Option<Settings>,
    /// Version of degrain.
    version: String,
    adapter: String,
    class: String,
    backend: String,
    driver: String,
    kernels: String,
    /// Number of ranks that trained together.
    #[serde(default = "one")]
    ranks: usize,
    /// Form of the kernels of each class of work that has several.
    #[serde(default)]
    forms: KernelChoices,
}

fn one() -> usize {
    1
}

impl Manifest {
    /// The settings of the last start; `None` in a run of an earlier version.
    pub fn settings(&self) -> Option<&Settings> {
        self.starts.last().and_then(|start| start.settings.as_ref())
    }

    /// Reads the manifest of a run's folder; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read or was not written by this version.
    pub fn read(folder: &Path) -> Result<Option<Manifest>> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map(Some).map_err(|e| Error::file(&path, format!("not a manifest: {e}")))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }
}

impl Data {
    fn new(dataset: &Dataset, sha256: &str) -> Data {
        let file = |file: &crate::data::DataFile| ManifestFile {
            path: file.path.display().to_string(),
            sha256: file.sha256.clone(),
            known_as: file.known.map(Into::into),
        };
        let sha256 = sha256.to_string();
        Data {
            name: dataset.name.clone(),
            sha256,
            images: dataset.count,
            files: dataset.files.iter().map(file).collect(),
        }
    }
}

impl Trainer {
    /// The options that start a run again that has no checkpoint.
    pub(super) fn restart_options(run: &Path) -> String {
        match Manifest::read(run).ok().flatten().and_then(|manifest| manifest.origin) {
            Some(origin) => origin.options(run),
            None => format!("--config {}", shell_quoted(&run.join("config.toml"))),
        }
    }

    /// The name of the run in the manifest, or a new name for a run of an earlier version.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn earlier_name(&self) -> Result<String> {
        Ok(Manifest::read(&self.config.out)?.and_then(|manifest| manifest.run).unwrap_or_else(run_name::unique))
    }

    /// The forms of kernels of the last start of the run that this one continues, for the same
    /// device. With them its bits do not change. On another device there are none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn earlier_forms(&self) -> Result<KernelChoices> {
        let taken = self.origin.as_ref().map(|origin| origin.taken);
        let run = match (&self.checkpoint, taken) {
            (Some(_), None) => Some(&*self.config.out),
            (Some((_, checkpoint)), Some(Taken::State)) => checkpoint.parent(),
            _ => None,
        };
        let Some(run) = run else { return Ok(KernelChoices::default()) };
        let adapter = self.ctx.gpu.adapter();
        let is_same = |start: &Start| {
            let kernels = self.ctx.target().to_string();
            (&start.adapter, &start.driver, &start.kernels) == (&adapter.name, &adapter.driver, &kernels)
        };
        let last = Manifest::read(run)?.and_then(|manifest| manifest.starts.into_iter().next_back());
        Ok(last.filter(is_same).map(|start| start.forms).unwrap_or_default())
    }

    /// Writes the complete settings, and adds this start to the manifest.
    ///
    /// # Errors
    /// A folder that cannot be written; a manifest that is damaged.
    pub(super) fn write_manifest(&self, forms: &KernelChoices) -> Result<()> {
        let folder = &self.config.out;
        let path = folder.join(FILE);
        let continues = self.checkpoint.is_some() && self.origin.is_none();
        let earlier = if continues { Manifest::read(folder)? } else { None };
        let origin = self.origin.clone().or_else(|| earlier.as_ref()?.origin.clone());
        let adapter = self.ctx.gpu.adapter();
        let mut starts = earlier.map_or(vec![], |manifest| manifest.starts);
        starts.push(Start {
            step: self.finished_steps(),
            changed: self.changed.clone(),
            settings: Some(self.config.clone().into()),
            version: env!("CARGO_PKG_VERSION").into(),
            adapter: adapter.name.clone(),
            class: adapter.class.to_string(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            kernels: self.ctx.target().to_string(),
            ranks: self.ranks.communicator.size(),
            forms: forms.clone(),
        });
        let parameters = self.objective.model().parameters().count();
        let run = Some(self.run.clone());
        let manifest = Manifest { run, origin, data: Data::new(&self.dataset, &self.data_sha256), parameters, starts };
        let json = serde_json::to_string_pretty(&manifest).map_err(|e| Error::Config(e.to_string()))?;
        write_atomically(&path, format!("{json}\n").as_bytes())?;
        write_atomically(&folder.join("config.toml"), self.config.to_toml()?.as_bytes())
    }
}
