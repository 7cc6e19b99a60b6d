//! A trained model with its process, as a folder in diffusers' layout:
//!
//! ```text
//! model_index.json
//! unet/config.json, diffusion_pytorch_model.safetensors
//! scheduler/scheduler_config.json
//! degrain.json            what diffusers has no place for: classes, the null class, steps trained (absent in folders of other makers)
//! ```

use super::guidance::Labels;
use super::scheduler_config::SchedulerConfig;
use crate::files::write_atomically;
use crate::nn::{UNet2d, UNet2dConfig, state_dict};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const CARD: &str = "degrain.json";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// What diffusers' files have no place for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Steps trained.
    pub step: u32,
    /// Seconds trained.
    pub seconds: f64,
    /// Name of the data set.
    pub dataset: String,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// What the model knows of labels: what guidance needs.
    pub labels: Option<Labels>,
}

/// A trained model and its process.
pub struct Pipeline {
    /// The model.
    pub unet: UNet2d,
    /// Its weights: a slab.
    pub weights: Vec<f32>,
    /// Schedule, prediction and variance.
    pub scheduler: SchedulerConfig,
    /// The rest.
    pub card: Card,
    /// What the files say that was passed over, for the caller to print.
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
    if !path.is_dir() {
        return Err(nothing());
    }
    checkpoints(path)?.pop().map(|(_, folder)| folder).ok_or_else(nothing)
}

/// Where the model lies: in `unet/` of a pipeline, or in the folder itself, as a model saved alone.
fn model_folder(folder: &Path) -> Option<PathBuf> {
    let alone = folder.join(CONFIG).is_file() && !folder.join("config.toml").exists();
    [folder.join("unet").is_dir().then(|| folder.join("unet")), alone.then(|| folder.into())]
        .into_iter()
        .flatten()
        .next()
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

/// Reads what a pipeline folder has beyond diffusers' files; nothing, if it was made by others.
///
/// # Errors
/// A damaged file.
pub fn read_card(folder: &Path) -> Result<Option<Card>> {
    let path = folder.join(CARD);
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| Error::file(&path, e.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(&path)(error)),
    }
}

impl Pipeline {
    /// Reads a pipeline folder.
    ///
    /// # Errors
    /// A missing or damaged file; a model or scheduler that cannot be computed; a tensor that is missing, unknown or misshapen.
    pub fn read(folder: &Path) -> Result<Pipeline> {
        let model = model_folder(folder).unwrap_or_else(|| folder.join("unet"));
        let (config, unknown) = UNet2dConfig::read(&model.join(CONFIG))?;
        let path = folder.join("scheduler/scheduler_config.json");
        let alone = model == folder && !path.exists();
        let (scheduler, passed_over) = if alone { Default::default() } else { SchedulerConfig::read(&path)? };
        let pickled = model.join("diffusion_pytorch_model.bin");
        if !model.join(WEIGHTS).exists() && pickled.exists() {
            return Err(Error::file(
                pickled,
                "a pickle can run code and is not read: save the model with safe_serialization=True",
            ));
        }
        let (taken, given) = (config.in_channels, config.out_channels);
        if taken != given || ![1, 3].contains(&taken) {
            let problem = format!(
                "`in_channels` = {taken} and `out_channels` = {given} are not supported: both must be 1 (grey) or both 3 (colour)"
            );
            return Err(Error::file(model.join(CONFIG), problem));
        }
        let unet = UNet2d::new(config, scheduler.steps)?;
        let weights = state_dict::read(&model.join(WEIGHTS), unet.parameters())?;
        let known = read_card(folder)?;
        let classes = unet.config().num_class_embeds.unwrap_or(0);
        // A folder of other makers does not say whether the last class stands for none, so all of them are classes.
        let card = known.unwrap_or_else(|| Card {
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            labels: (classes > 0).then_some(Labels { classes, dropout: 0.0 }),
            ..Card::default()
        });
        let (rows, named) = (card.labels.map_or(0, |labels| labels.embeddings()), card.class_names.len());
        let belongs = match card.labels {
            Some(labels) => rows <= classes && named == labels.classes as usize && named > 0,
            None => classes == 0,
        };
        if !belongs {
            let problem = format!(
                "{named} classes and {rows} labels do not fit the model's table of {classes}: it belongs to another model, or is damaged"
            );
            return Err(Error::file(folder.join(CARD), problem));
        }
        let warn = |file: &str, keys: Vec<String>| {
            keys.into_iter()
                .map(move |key| format!("{file}: the key `{key}` is not known and was passed over"))
                .collect::<Vec<_>>()
        };
        let guessed = alone.then(|| {
            "a model without a scheduler: it is sampled as trained with a linear schedule of 1000 time steps".into()
        });
        let unknown = [warn(CONFIG, unknown), warn("scheduler_config.json", passed_over)].concat();
        let warnings = guessed.into_iter().chain(unknown).collect();
        Ok(Pipeline { unet, weights, scheduler, card, warnings })
    }
}

/// Writes a pipeline folder file by file; the caller renames the whole.
///
/// # Errors
/// A full disk, or a folder that cannot be written.
pub fn write(folder: &Path, unet: &UNet2d, weights: &[f32], scheduler: &SchedulerConfig, card: &Card) -> Result<()> {
    for part in ["unet", "scheduler"] {
        let part = folder.join(part);
        fs::create_dir_all(&part).map_err(Error::io(&part))?;
    }
    let class = scheduler.sampler.class();
    let index = serde_json::json!({
        "_class_name": class.replace("Scheduler", "Pipeline"), "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", class], "unet": ["diffusers", "UNet2DModel"],
    });
    let card = serde_json::to_string_pretty(card).map_err(|e| Error::Config(e.to_string()))?;
    write_atomically(&folder.join("model_index.json"), format!("{index:#}\n").as_bytes())?;
    write_atomically(&folder.join("unet").join(CONFIG), unet.config().to_json().as_bytes())?;
    write_atomically(&folder.join("scheduler/scheduler_config.json"), scheduler.to_json().as_bytes())?;
    write_atomically(&folder.join(CARD), format!("{card}\n").as_bytes())?;
    state_dict::write(&folder.join("unet").join(WEIGHTS), unet.parameters(), weights)
}
