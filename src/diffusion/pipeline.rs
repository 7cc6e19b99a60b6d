//! A trained model with its process, as a folder. That of a U-Net with discrete time steps is in diffusers' layout:
//!
//! ```text
//! model_index.json
//! unet/config.json, diffusion_pytorch_model.safetensors     `model/` for networks that diffusers does not know
//! scheduler/scheduler_config.json
//! degrain.json            what diffusers has no place for: classes, the null class, the process, steps trained (absent in folders of others)
//! ```

use super::checkpoint_metadata::{CheckpointMetadata, Sampling};
use super::denoiser::Denoiser;
use super::guidance::Labels;
use super::process::Process;
use super::processes::ProcessConfig;
use super::scheduler_config::SchedulerConfig;
use crate::files::write_atomically;
use crate::nn::registry::{self, AnyModel};
use crate::nn::{Model, Network, state_dict};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The class that diffusers has.
const UNET: &str = "UNet2DModel";

/// A trained denoiser and its process.
pub struct Pipeline {
    /// The network.
    pub network: Box<dyn Network>,
    /// Its weights: a slab, followed by its statistics.
    pub weights: Vec<f32>,
    /// The process.
    pub process: Box<dyn Process>,
    /// Sampler and its options, and of a process of discrete time steps all of it.
    pub scheduler: SchedulerConfig,
    /// The rest.
    pub card: CheckpointMetadata,
    /// What the files say that was passed over, for the caller to print.
    pub warnings: Vec<String>,
}

/// A model of any kind with its weights.
pub struct Checkpoint {
    /// The model.
    pub model: AnyModel,
    /// Its weights: a slab, followed by its statistics.
    pub weights: Vec<f32>,
    /// What a checkpoint says of it besides; nothing, if it was made by others.
    pub card: Option<CheckpointMetadata>,
    /// Keys of its configuration that were passed over.
    pub warnings: Vec<String>,
}

/// The pipeline folder that a path means: itself, or the last checkpoint of a run folder.
///
/// # Errors
/// Neither of the two.
pub fn locate(path: &Path) -> Result<PathBuf> {
    if model_folder(path).is_some() {
        return Ok(path.into());
    }
    let nothing = || {
        Error::file(
            path,
            "neither a diffusers folder (with unet/config.json) nor a run folder (with checkpoint-STEP folders)",
        )
    };
    if !path.exists() {
        return Err(Error::file(
            path,
            "there is no such folder: name the folder of a run, which `train` makes, or of a checkpoint",
        ));
    }
    if !path.is_dir() {
        return Err(nothing());
    }
    checkpoints(path)?.pop().map(|(_, folder)| folder).ok_or_else(nothing)
}

/// Where the model lies: in `unet/` or `model/` of a pipeline, or in the folder itself, as a model saved alone.
fn model_folder(folder: &Path) -> Option<PathBuf> {
    let alone = folder.join(CONFIG).is_file() && !folder.join("config.toml").exists();
    let inside = ["unet", "model"].into_iter().map(|part| folder.join(part)).find(|part| part.is_dir());
    inside.or_else(|| alone.then(|| folder.into()))
}

/// The complete checkpoints of a run folder with their steps, oldest first.
///
/// # Errors
/// A folder that cannot be read.
pub fn checkpoints(run: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let path = entry.map_err(Error::io(run))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(step) = name.strip_prefix("checkpoint-").and_then(|step| step.parse().ok()) {
            all.push((step, path));
        }
    }
    all.sort();
    Ok(all)
}

/// Reads a model of any kind from a pipeline folder.
///
/// # Errors
/// A missing or damaged file; a model that cannot be computed; a tensor that is missing, unknown or misshapen.
pub fn read_model(folder: &Path) -> Result<Checkpoint> {
    let (model, warnings) = read_config(folder)?;
    let weights = read_weights(folder, model.model())?;
    Ok(Checkpoint { model, weights, card: CheckpointMetadata::read(folder)?, warnings })
}

fn config_file(folder: &Path) -> PathBuf {
    model_folder(folder).unwrap_or_else(|| folder.join("unet")).join(CONFIG)
}

/// The model of a pipeline folder without its weights, and what of its configuration was passed over.
///
/// # Errors
/// A missing or damaged file; a model that cannot be computed.
pub fn read_config(folder: &Path) -> Result<(AnyModel, Vec<String>)> {
    let (model, unknown) = registry::read(&config_file(folder))?;
    Ok((model, warn(CONFIG, unknown)))
}

fn read_weights(folder: &Path, model: &dyn Model) -> Result<Vec<f32>> {
    let file = config_file(folder).with_file_name(WEIGHTS);
    let pickled = file.with_file_name("diffusion_pytorch_model.bin");
    if !file.exists() && pickled.exists() {
        let problem = "a pickle can run code and is not read: save the model with safe_serialization=True";
        return Err(Error::file(pickled, problem));
    }
    state_dict::read(&file, model.parameters())
}

fn warn(file: &str, keys: Vec<String>) -> Vec<String> {
    keys.into_iter().map(|key| format!("{file}: the key `{key}` is not known and was passed over")).collect()
}

impl Pipeline {
    /// Reads a pipeline folder.
    ///
    /// # Errors
    /// As [`read_model`]; a model that is no denoiser; a scheduler that cannot be computed, or files that do not belong together.
    pub fn read(folder: &Path) -> Result<Pipeline> {
        let config = config_file(folder);
        let (model, warnings) = read_config(folder)?;
        let card = CheckpointMetadata::read(folder)?;
        let class = model.model().class();
        let AnyModel::Network(network) = model else {
            return Err(Error::file(config, format!("`{class}` is no denoiser: it cannot be sampled from this way")));
        };
        let scheduler_file = folder.join("scheduler/scheduler_config.json");
        let alone = config.parent() == Some(folder) && !scheduler_file.exists();
        let (mut scheduler, passed_over) =
            if alone { Default::default() } else { SchedulerConfig::read(&scheduler_file)? };
        let [taken, given] = network.channels();
        let learned = card.as_ref().is_some_and(|card| card.learned_variance)
            || scheduler.options.variance_type == Some(super::Variance::LearnedRange);
        if given != taken * (1 + u32::from(learned)) || ![1, 3].contains(&taken) {
            let problem = format!(
                "`in_channels` = {taken} and `out_channels` = {given} are not supported: both must be 1 (grey) or both 3 (colour), or \
                 twice as many out as in with `variance_type` = \"learned_range\""
            );
            return Err(Error::file(config, problem));
        }
        let weights = read_weights(folder, &*network)?;
        let classes = network.classes().unwrap_or(0);
        // A folder of other makers does not say whether the last class stands for none, so all of them are classes.
        let mut card = card.unwrap_or_else(|| CheckpointMetadata {
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            labels: (classes > 0).then_some(Labels { classes, dropout: 0.0 }),
            ..CheckpointMetadata::default()
        });
        card.learned_variance = learned;
        card.check(classes).map_err(|problem| Error::file(folder.join(CheckpointMetadata::FILE), problem))?;
        if let Some(Sampling { sampler, options, .. }) = card.sampling {
            (scheduler.sampler, scheduler.options) = (sampler, options);
        }
        let guessed = alone.then(|| {
            "a model without a scheduler: it is sampled as trained with a linear schedule of 1000 time steps".into()
        });
        let warnings = guessed.into_iter().chain(warnings).chain(warn("scheduler_config.json", passed_over)).collect();
        let process = card.process.build(|| scheduler.process())?;
        Ok(Pipeline { network, weights, process, scheduler, card, warnings })
    }

    /// Channels of an image.
    pub fn channels(&self) -> u32 {
        self.network.channels()[0]
    }

    /// The denoiser, with its weights in the memory `slab`.
    pub fn denoiser<'a>(&'a self, slab: &'a str) -> Denoiser<'a> {
        Denoiser {
            network: &*self.network,
            slab,
            process: &*self.process,
            labels: self.card.labels,
            learned_variance: self.card.learned_variance,
            decoder_min_std: self.card.decoder_min_std,
        }
    }
}

/// Writes a pipeline folder file by file; the caller renames the whole. `scheduler` is that of a denoiser.
///
/// # Errors
/// A full disk, or a folder that cannot be written.
pub fn write(
    folder: &Path,
    model: &dyn Model,
    weights: &[f32],
    scheduler: Option<&SchedulerConfig>,
    card: &CheckpointMetadata,
) -> Result<()> {
    let part = folder.join(if model.class() == UNET { "unet" } else { "model" });
    let create = |part: &Path| fs::create_dir_all(part).map_err(Error::io(part));
    create(&part)?;
    if let Some(scheduler) = scheduler {
        create(&folder.join("scheduler"))?;
        write_atomically(&folder.join("scheduler/scheduler_config.json"), scheduler.to_json().as_bytes())?;
        if model.class() == UNET && card.process == ProcessConfig::Discrete {
            let class = scheduler.sampler.class();
            let index = serde_json::json!({
                "_class_name": class.replace("Scheduler", "Pipeline"), "_diffusers_version": "0.42.1",
                "scheduler": ["diffusers", class], "unet": ["diffusers", UNET],
            });
            write_atomically(&folder.join("model_index.json"), format!("{index:#}\n").as_bytes())?;
        }
    }
    write_atomically(&part.join(CONFIG), model.config_json().as_bytes())?;
    card.write(folder)?;
    state_dict::write(&part.join(WEIGHTS), model.parameters(), weights)
}
