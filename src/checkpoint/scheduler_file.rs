//! Finds and reads the `scheduler_config.json` of a model.

use super::metadata::CheckpointMetadata;
use super::python_json::{self, quote_non_finite};
use super::scheduler_class;
use super::scheduler_config::SchedulerConfig;
use crate::diffusion::processes::Flow;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The file's place in a pipeline's folder.
pub(super) const SCHEDULER: &str = "scheduler/scheduler_config.json";
/// Its place in a folder without subfolders.
const FLAT_SCHEDULER: &str = "scheduler_config.json";

/// What the file says about the model.
pub(super) enum ModelScheduler {
    /// Discrete timesteps.
    Discrete(SchedulerConfig),
    /// Flow matching.
    Flow(Flow),
}

/// The scheduler's file of a checkpoint folder. A folder that was not written by degrain can be a
/// part of a pipeline (`unet/`, `checkpoint-STEP/`), whose folder then has the file.
pub(super) fn find(folder: &Path, has_metadata: bool) -> Option<PathBuf> {
    let mut at = std::path::absolute(folder).ok()?;
    // The path as the user wrote it, if the file is in this folder.
    let own = [SCHEDULER, FLAT_SCHEDULER].map(|name| folder.join(name)).into_iter().find(|file| file.is_file());
    if own.is_some() || has_metadata {
        return own;
    }
    loop {
        if !is_part(&at) || !at.pop() {
            return None;
        }
        let found = [SCHEDULER, FLAT_SCHEDULER].map(|name| at.join(name)).into_iter().find(|file| file.is_file());
        if found.is_some() || at.join(CheckpointMetadata::FILE).exists() {
            return found;
        }
    }
}

/// Whether a folder is a part of a pipeline by its name, so that the folder above it belongs to it.
fn is_part(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    ["unet", "unet_ema"].contains(&&*name) || name.starts_with("checkpoint-")
}

/// Reads the file, with messages for the user about keys that are not used.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`]: no JSON, a class or a value that is not supported.
pub(super) fn read(path: &Path) -> Result<(ModelScheduler, Vec<String>)> {
    let text = python_json::read(path)?;
    let problem = |problem: String| Error::file(path, problem);
    let map: Map<String, Value> =
        serde_json::from_str(&quote_non_finite(&text)).map_err(|e| problem(format!("not a JSON object: {e}")))?;
    let class = map.get("_class_name").and_then(Value::as_str).unwrap_or("DDPMScheduler").to_string();
    let (scheduler, unused) = if FLOW.contains(&class.as_str()) {
        let (flow, unused) = flow(map).map_err(problem)?;
        (ModelScheduler::Flow(flow), unused)
    } else {
        let (config, unused) = SchedulerConfig::from_json(&text).map_err(problem)?;
        (ModelScheduler::Discrete(config), unused)
    };
    let mut messages = vec![];
    let (thresholding, unused): (Vec<String>, Vec<String>) = unused.into_iter().partition(|key| key == "thresholding");
    if !thresholding.is_empty() {
        messages.push("scheduler_config.json: `thresholding` is replaced with clipping to [-1, 1]".to_string());
    }
    let (own, unknown): (Vec<String>, Vec<String>) =
        unused.into_iter().partition(|key| scheduler_class::is_sampling_key(key));
    if !own.is_empty() {
        let keys: Vec<String> = own.iter().map(|key| format!("`{key}`")).collect();
        messages.push(format!(
            "scheduler_config.json: {} only affect{} the steps of {class}, and {} ignored: --sampler and its options \
             select the steps here",
            keys.join(", "),
            if own.len() == 1 { "s" } else { "" },
            if own.len() == 1 { "is" } else { "are" },
        ));
    }
    messages.extend(python_json::unknown_keys("scheduler_config.json", unknown));
    Ok((scheduler, messages))
}

/// Classes of flow matching: the network predicts eps - x_0 and receives the time
/// `num_train_timesteps` t.
const FLOW: [&str; 2] = ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"];

fn flow(mut map: Map<String, Value>) -> std::result::Result<(Flow, Vec<String>), String> {
    scheduler_class::take_fixed(&mut map)?;
    let timesteps = map.remove("num_train_timesteps").unwrap_or_else(|| 1000.into());
    let factor = timesteps.as_f64().filter(|factor| *factor >= 1.0);
    let factor = factor.ok_or_else(|| format!("`num_train_timesteps` = {timesteps} must be a number of at least 1"))?;
    let unused = map.into_iter().map(|(key, _)| key).filter(|key| !key.starts_with('_'));
    Ok((Flow { time_factor: factor }, unused.collect()))
}

/// Refuses a pipeline whose U-Net denoises something else than images.
///
/// # Errors
/// A `model_index.json` with other parts than a U-Net and a scheduler, or a damaged one.
pub(super) fn check_pipeline(folder: &Path) -> Result<()> {
    let mut at = std::path::absolute(folder).map_err(Error::io(folder))?;
    let path = loop {
        let path = at.join("model_index.json");
        if path.is_file() {
            break path;
        }
        if !is_part(&at) || !at.pop() {
            return Ok(());
        }
    };
    let text = quote_non_finite(&python_json::read(&path)?);
    let map: Map<String, Value> =
        serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("not a JSON object: {e}")))?;
    let is_loaded = |value: &Value| value.as_array().is_some_and(|names| names.iter().any(|name| !name.is_null()));
    let known = ["unet", "scheduler"];
    match map.iter().find(|(key, value)| !known.contains(&key.as_str()) && is_loaded(value)) {
        Some((part, _)) => Err(Error::file(
            &path,
            format!(
                "this pipeline has a `{part}`: its U-Net does not denoise images by itself, as in latent diffusion. \
                 Pipelines of a UNet2DModel and a scheduler are supported"
            ),
        )),
        None => Ok(()),
    }
}
