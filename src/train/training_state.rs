//! Checkpoints of a run. Each is a folder with the model's EMA weights, which `sample` and
//! diffusers read, and `training_state.safetensors`, which holds parameters, Adam's moments and
//! EMA. A resumed run continues from them bit for bit.
//!
//! A folder is written under a temporary name and renamed when it is complete, so an interrupted
//! save leaves the last checkpoint intact. An old checkpoint is renamed before it is removed. Both
//! names contain the run's, so that a run removes only what it wrote.

use super::buffers::{EMA, FIRST_MOMENT, SECOND_MOMENT};
use super::clock::Progress;
use super::trainer::{Trainer, all_checkpoints};
use crate::checkpoint::{self, CheckpointMetadata};
use crate::files::{remove_folder, rename, sync_folder, write_atomically};
use crate::nn::{PARAMETERS, statistics_of};
use crate::output::note;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a checkpoint of a run complete: it is written last.
pub(super) const STATE_FILE: &str = "training_state.safetensors";

/// The buffers that have a value for each parameter. The file has them in the order of the model's
/// list, whatever their order on the device.
const FLAT: [&str; 4] = [PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, EMA];

impl Trainer {
    /// Saves a checkpoint in the run's folder, and removes the run's oldest ones beyond
    /// [`Config::keep_checkpoints`](super::Config::keep_checkpoints). Copies and checkpoints of
    /// other runs stay.
    ///
    /// # Errors
    /// [`Error::Io`] with the file that cannot be written.
    pub(super) fn save(&self, progress: Progress) -> Result<()> {
        let run = &self.config.out;
        let partial = run.join(hidden(&self.run, progress.step, "partial"));
        remove_folder(&partial)?;
        if let Err(error) = self.write_checkpoint(&partial, progress) {
            // The first error is the one to report. On a full disk this frees space.
            let _ = remove_folder(&partial);
            return Err(error);
        }
        let complete = run.join(format!("checkpoint-{}", progress.step));
        // Never replaced: what is there was not made by this run.
        set_aside(run, progress.step, &complete)?;
        rename(&partial, &complete)?;
        sync_folder(run)?;
        let all = checkpoint::checkpoints(run)?;
        let own: Vec<_> = all.iter().filter(|(step, path)| self.wrote(*step, path)).collect();
        let superfluous = own.len().saturating_sub(self.config.keep_checkpoints as usize);
        for (step, path) in &own[..superfluous] {
            let old = run.join(hidden(&self.run, *step, "removed"));
            remove_folder(&old)?;
            rename(path, &old)?;
            remove_folder(&old)?;
        }
        Ok(())
    }

    /// Whether this run wrote the checkpoint of `step`.
    fn wrote(&self, step: u32, checkpoint: &Path) -> bool {
        let metadata = CheckpointMetadata::read(checkpoint).ok().flatten();
        metadata.is_some_and(|metadata| metadata.run.as_ref() == Some(&self.run) && metadata.step == step)
    }

    fn write_checkpoint(&self, folder: &Path, progress: Progress) -> Result<()> {
        let model = self.objective.model();
        let parts = self.state_buffers();
        let read = |(name, length): &(String, usize)| {
            if FLAT.contains(&name.as_str()) {
                let flat = model.parameters().flat_shape().len();
                Ok(model.parameters().to_file_order(&self.ctx.read(name, 0, flat)?))
            } else {
                self.ctx.read(name, 0, *length)
            }
        };
        let values: Vec<Vec<f32>> = parts.iter().map(read).collect::<Result<_>>()?;
        let averaged = model.parameters().read(&self.ctx, EMA)?;
        let mut metadata = CheckpointMetadata {
            run: Some(self.run.clone()),
            step: progress.step,
            seconds: progress.seconds,
            dataset: self.dataset.name.clone(),
            data_sha256: Some(self.data_sha256.clone()),
            class_names: self.dataset.class_names.clone(),
            class_counts: self.dataset.class_counts(),
            ..CheckpointMetadata::default()
        };
        self.objective.fill_metadata(&mut metadata);
        checkpoint::write(folder, model, &averaged, self.objective.scheduler().as_ref(), &metadata)?;
        let path = folder.join(STATE_FILE);
        write_atomically(&path, &serialize(&parts, &values).map_err(|e| Error::file(&path, e.to_string()))?)?;
        sync_folder(folder)
    }

    /// Restores from a checkpoint the buffers that training changes. `inspect` gets the bytes of
    /// each.
    ///
    /// # Errors
    /// A file that is missing, damaged or belongs to another model.
    pub(super) fn restore(&self, checkpoint: &Path, mut inspect: impl FnMut(&[u8])) -> Result<Progress> {
        let parameters = self.objective.model().parameters();
        self.read_state(checkpoint, |name, bytes| {
            inspect(bytes);
            if FLAT.contains(&name) {
                let ordered: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
                self.ctx.write(name, 0, &parameters.from_file_order(&ordered))
            } else {
                self.ctx.write(name, 0, bytes)
            }
        })
    }

    /// The newest checkpoint of a run's folder that can be restored, with its number of finished
    /// steps. Warns of damaged ones after it. `None` if there is no checkpoint.
    ///
    /// # Errors
    /// The error of the newest checkpoint, if none can be restored.
    pub(super) fn newest_intact(&self, run: &Path) -> Result<Option<(u32, PathBuf)>> {
        let mut first = None;
        for (step, path) in all_checkpoints(run)?.into_iter().rev() {
            match self.check_state(&path) {
                Ok(()) => {
                    if let Some(problem) = first {
                        note(format_args!("warning: {problem}. The run continues from {}", path.display()));
                    }
                    return Ok(Some((step, path)));
                }
                Err(problem) => first = first.or(Some(problem)),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Checks that a checkpoint can be restored.
    ///
    /// # Errors
    /// As [`Trainer::restore`].
    pub(super) fn check_state(&self, checkpoint: &Path) -> Result<()> {
        let own = self.read_state(checkpoint, |_, _| Ok(()))?.step;
        let name = checkpoint.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.strip_prefix("checkpoint-").and_then(|step| step.parse::<u32>().ok()) {
            Some(step) if step != own => {
                Err(Error::file(checkpoint.join(CheckpointMetadata::FILE), format!("is of step {own}, not {step}")))
            }
            _ => Ok(()),
        }
    }

    /// Reads the buffers that training changes, and passes them to `put` with their names.
    fn read_state(&self, checkpoint: &Path, mut put: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<Progress> {
        // The metadata is read first, because it identifies a checkpoint of another version of
        // degrain.
        let missing = || Error::file(checkpoint, "has no degrain.json: degrain did not write it, and cannot resume it");
        let metadata = CheckpointMetadata::read(checkpoint)?.ok_or_else(missing)?;
        let path = checkpoint.join(STATE_FILE);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let state = SafeTensors::deserialize(&bytes).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
        for (name, length) in self.state_buffers() {
            let tensor = state.tensor(&name).map_err(|e| Error::file(&path, e.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != [length] {
                let problem =
                    format!("`{name}` has the shape {:?}, but this model needs [{length}] of F32", tensor.shape());
                return Err(Error::file(&path, problem));
            }
            put(&name, tensor.data())?;
        }
        Ok(Progress { step: metadata.step, seconds: metadata.seconds })
    }

    /// Name and length in the file of every buffer that training changes.
    fn state_buffers(&self) -> Vec<(String, usize)> {
        let parameters = self.objective.model().parameters();
        let length = parameters.file_length();
        let mut all: Vec<(String, usize)> = FLAT.map(|name| (name.to_string(), length)).into();
        if let Some(statistics) = parameters.statistics() {
            all.extend([PARAMETERS, EMA].map(|name| (statistics_of(name), statistics.len())));
        }
        all.extend(self.objective.state().into_iter().map(|(name, values)| (name.to_string(), values.len())));
        all
    }
}

/// Beginning of the hidden names that a run uses for its checkpoints.
fn hidden_prefix(name: &str) -> String {
    format!(".{name}.checkpoint-")
}

/// Hidden name of a checkpoint that is being written or removed.
fn hidden(name: &str, step: u32, suffix: &str) -> String {
    format!("{}{step}.{suffix}", hidden_prefix(name))
}

/// Removes incomplete and half-removed checkpoints of the run called `name`, which a killed process
/// leaves in its folder, and sets aside what has the name of a checkpoint after step `start`, from
/// which the run was not continued: `checkpoint-N` becomes `abandoned-checkpoint-N`. Returns the
/// new paths.
///
/// # Errors
/// A folder that cannot be read or changed.
pub(super) fn clean(run: &Path, name: &str, start: u32) -> Result<Vec<PathBuf>> {
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let entry = entry.map_err(Error::io(run))?;
        if entry.file_name().to_string_lossy().starts_with(&hidden_prefix(name)) {
            remove_folder(&entry.path())?;
        }
    }
    let mut abandoned = vec![];
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let path = entry.map_err(Error::io(run))?.path();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if let Some(step) = name.strip_prefix("checkpoint-").and_then(|step| step.parse().ok())
            && step > start
        {
            abandoned.extend(set_aside(run, step, &path)?);
        }
    }
    abandoned.sort();
    Ok(abandoned)
}

/// Renames `path` to `abandoned-checkpoint-STEP`, or to that with a number. Returns the new path;
/// `None` if there is nothing at `path`.
fn set_aside(run: &Path, step: u32, path: &Path) -> Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let aside = free_name(run, &format!("abandoned-checkpoint-{step}"), "")?;
    rename(path, &aside)?;
    Ok(Some(aside))
}

/// Copies the log of a run to `abandoned-log-STEP.jsonl`, or to that with a number, before its last
/// entries are cut off. Returns the new path; `None` if the run has no log.
///
/// # Errors
/// A file that cannot be read or written.
pub(super) fn keep_log(run: &Path, step: u32) -> Result<Option<PathBuf>> {
    let log = run.join("log.jsonl");
    if !log.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&log).map_err(Error::io(&log))?;
    let copy = free_name(run, &format!("abandoned-log-{step}"), ".jsonl")?;
    write_atomically(&copy, &bytes)?;
    Ok(Some(copy))
}

/// The first of NAME, NAME-2, NAME-3, ... that is free in a folder.
fn free_name(folder: &Path, name: &str, ending: &str) -> Result<PathBuf> {
    let numbered = |copy: u32| match copy {
        1 => folder.join(format!("{name}{ending}")),
        _ => folder.join(format!("{name}-{copy}{ending}")),
    };
    let free = (1..u32::MAX).map(numbered).find(|path| !path.exists());
    free.ok_or_else(|| Error::file(folder, format!("holds too many files named {name}")))
}

fn serialize(parts: &[(String, usize)], values: &[Vec<f32>]) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let mut views = Vec::new();
    for ((name, _), values) in parts.iter().zip(values) {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    safetensors::serialize(views, None)
}
