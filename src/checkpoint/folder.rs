//! Finds checkpoints: run folders with their `checkpoint-STEP` folders, and folders of diffusers.

use super::metadata::CheckpointMetadata;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
/// The folder of the EMA weights that diffusers' training scripts save.
const EMA: &str = "unet_ema";

/// The checkpoint folder that a path names: itself, or the last checkpoint of a run folder.
///
/// # Errors
/// A path that is neither a checkpoint nor a run folder with a checkpoint.
pub fn locate(path: &Path) -> Result<PathBuf> {
    if let Some(checkpoint) = checkpoint_of_part(path) {
        return Ok(checkpoint);
    }
    if model_folder(path).is_some() {
        return Ok(path.into());
    }
    let nothing = || Error::file(path, not_a_checkpoint(path));
    if !path.exists() {
        let run = path.parent().filter(|run| run.is_dir());
        let others = run.and_then(|run| checkpoints(run).ok()).unwrap_or_default();
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|(step, _)| format!("checkpoint-{step}")).collect();
            let problem = format!("there is no such checkpoint; the run has {}", names.join(", "));
            return Err(Error::file(path, problem));
        }
        return Err(Error::file(
            path,
            "there is no such folder: name the folder of a run, which `train` makes, or of a checkpoint",
        ));
    }
    if !path.is_dir() {
        return Err(nothing());
    }
    if let Some((_, newest)) = checkpoints(path)?.pop() {
        return Ok(newest);
    }
    if !path.join("config.toml").is_file() {
        return Err(nothing());
    }
    let problem = match all_steps(path)?.pop() {
        Some((step, folder)) => format!(
            "holds no complete checkpoint: checkpoint-{step} lacks {}",
            lacks(&folder).unwrap_or("nothing any more")
        ),
        None => "is a run that holds no checkpoint yet: train it until its first checkpoint".into(),
    };
    Err(Error::file(path, problem))
}

/// Warnings for the checkpoints of a run that are later than `chosen` and were skipped because they
/// are not complete.
pub(super) fn skipped(run: &Path, chosen: &Path) -> Result<Vec<String>> {
    let later = all_steps(run)?.into_iter().rev().take_while(|(_, folder)| folder != chosen);
    let name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // A checkpoint that a running training completes meanwhile lacks nothing.
    let warning = |(_, folder): (u32, PathBuf)| {
        let (lacks, chosen) = (lacks(&folder)?, name(chosen));
        Some(format!("{}: the checkpoint lacks {lacks} and is skipped; {chosen} is used", folder.display()))
    };
    Ok(later.filter_map(warning).collect())
}

/// The files that a checkpoint lacks; `None` if it is complete.
fn lacks(folder: &Path) -> Option<&'static str> {
    match (folder.join(CheckpointMetadata::FILE).is_file(), has_weights(folder)) {
        (true, true) => None,
        (true, false) => Some("its weights"),
        (false, true) => Some(CheckpointMetadata::FILE),
        (false, false) => Some("degrain.json and its weights"),
    }
}

/// The complete checkpoints of a run folder with their steps, oldest first: folders `checkpoint-N`
/// with a model and `degrain.json`.
///
/// # Errors
/// A folder that cannot be read.
pub fn checkpoints(run: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut all = all_steps(run)?;
    all.retain(|(_, path)| path.join(CheckpointMetadata::FILE).is_file() && has_weights(path));
    Ok(all)
}

/// The folders `checkpoint-N` of a run, complete or not, oldest first.
fn all_steps(run: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let path = entry.map_err(Error::io(run))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix("checkpoint-").and_then(|step| step.parse().ok());
        if let Some(step) = step.filter(|_| path.is_dir()) {
            all.push((step, path));
        }
    }
    all.sort();
    Ok(all)
}

/// The run folder that a user named, which has a config.toml, or that holds the checkpoint `folder`.
/// A folder that the user did not name must also have a run's manifest: a checkpoint can be copied
/// into any project.
pub fn run_folder(path: &Path, folder: &Path) -> Option<PathBuf> {
    let has = |run: &Path, file: &str| run.join(file).is_file();
    if has(path, "config.toml") {
        return Some(path.into());
    }
    let run = parent(folder)?;
    (has(&run, "config.toml") && has(&run, "manifest.json")).then_some(run)
}

/// The folder that holds `path`, which can be relative.
fn parent(path: &Path) -> Option<PathBuf> {
    match (path.file_name(), path.parent()) {
        (None, _) => fs::canonicalize(path).ok()?.parent().map(Path::to_path_buf), // `.` or `..`
        (_, Some(parent)) if parent.as_os_str().is_empty() => Some(".".into()),
        (_, parent) => parent.map(Path::to_path_buf),
    }
}

/// Whether a folder holds the weights of a model.
fn has_weights(folder: &Path) -> bool {
    model_folder(folder).is_some_and(|model| model.join(WEIGHTS).is_file())
}

/// The checkpoint of degrain whose `unet/` or `model/` the user named.
fn checkpoint_of_part(path: &Path) -> Option<PathBuf> {
    let is_part = path.file_name().is_some_and(|name| name == "unet" || name == "model");
    let checkpoint = parent(path).filter(|folder| is_part && folder.join(CheckpointMetadata::FILE).is_file())?;
    path.join(CONFIG).is_file().then_some(checkpoint)
}

/// What is wrong with a path that is neither a checkpoint nor a run.
fn not_a_checkpoint(path: &Path) -> &'static str {
    let named = |end: &str| path.extension().is_some_and(|ending| ending == end);
    let holds_weights = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains(".safetensors");
    if path.is_file() && named("safetensors") {
        return "is a file of weights: name its folder, which must also hold the model's config.json";
    }
    if fs::read_dir(path).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(holds_weights))) {
        return "holds weights but no config.json, which describes the network: download it next to the weights";
    }
    "neither a diffusers folder (with unet/config.json) nor a run folder (with checkpoint-STEP folders)"
}

/// The folder of the model: `unet/` or `model/` of a checkpoint, or the folder itself for a model
/// that was saved alone. Diffusers' training scripts also save EMA weights in `unet_ema/`, which
/// are the weights to sample with.
pub(super) fn model_folder(folder: &Path) -> Option<PathBuf> {
    let alone = folder.join(CONFIG).is_file() && !folder.join("config.toml").exists();
    let ema = folder.join(EMA);
    if ema.join(CONFIG).is_file() && !folder.join(CheckpointMetadata::FILE).exists() {
        return Some(ema);
    }
    let inside = ["unet", "model"].into_iter().map(|part| folder.join(part)).find(|part| part.is_dir());
    inside.or_else(|| alone.then(|| folder.into()))
}

/// A message if a folder has two sets of weights.
pub(super) fn two_sets_of_weights(folder: &Path, used: &Path) -> Option<String> {
    let other = folder.join("unet");
    (used == folder.join(EMA) && other.join(CONFIG).is_file()).then(|| {
        format!("{}: the EMA weights are used. For the other weights name {}", used.display(), other.display())
    })
}
