//! Checkpoints of a run. Each is a folder with the model's EMA weights, which `sample` and
//! diffusers read, and `training_state.safetensors`, which holds parameters, Adam's moments and
//! EMA. A resumed run continues from them bit for bit.
//!
//! A folder is written under a temporary name and renamed when it is complete, so an interrupted
//! save leaves the last checkpoint intact.

use super::buffers::{EMA, FIRST_MOMENT, SECOND_MOMENT};
use super::clock::Progress;
use super::trainer::Trainer;
use crate::checkpoint::{self, CheckpointMetadata};
use crate::files::write_atomically;
use crate::nn::{PARAMETERS, statistics_of};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use std::fs;
use std::path::Path;

const STATE_FILE: &str = "training_state.safetensors";
/// Prefix of the folder name of an incomplete checkpoint.
const PARTIAL_PREFIX: &str = ".checkpoint-";
/// Suffix of the folder name of an incomplete checkpoint.
const PARTIAL_SUFFIX: &str = ".partial";

impl Trainer {
    /// Saves a checkpoint in the run's folder, and removes the oldest ones beyond
    /// [`Config::keep_checkpoints`](super::Config::keep_checkpoints).
    ///
    /// # Errors
    /// [`Error::Io`] with the file that cannot be written.
    pub(super) fn save(&self, progress: Progress) -> Result<()> {
        let run = &self.config.out;
        let partial = run.join(format!("{PARTIAL_PREFIX}{}{PARTIAL_SUFFIX}", progress.step));
        remove(&partial)?;
        if let Err(error) = self.write_checkpoint(&partial, progress) {
            // The first error is the one to report. On a full disk this frees space.
            let _ = remove(&partial);
            return Err(error);
        }
        let complete = run.join(format!("checkpoint-{}", progress.step));
        remove(&complete)?;
        fs::rename(&partial, &complete).map_err(Error::io(&complete))?;
        let all = checkpoint::checkpoints(run)?;
        let superfluous = all.len().saturating_sub(self.config.keep_checkpoints as usize);
        all[..superfluous].iter().try_for_each(|(_, path)| remove(path))
    }

    fn write_checkpoint(&self, folder: &Path, progress: Progress) -> Result<()> {
        let model = self.objective.model();
        let parts = self.state_buffers();
        let values: Vec<Vec<f32>> =
            parts.iter().map(|(name, length)| self.ctx.read(name, 0, *length)).collect::<Result<_>>()?;
        let averaged = model.parameters().read(&self.ctx, EMA)?;
        let mut metadata = CheckpointMetadata {
            step: progress.step,
            seconds: progress.seconds,
            dataset: self.dataset.name.clone(),
            class_names: self.dataset.class_names.clone(),
            ..CheckpointMetadata::default()
        };
        self.objective.fill_metadata(&mut metadata);
        checkpoint::write(folder, model, &averaged, self.objective.scheduler().as_ref(), &metadata)?;
        let path = folder.join(STATE_FILE);
        write_atomically(&path, &serialize(&parts, &values).map_err(|e| Error::file(&path, e.to_string()))?)
    }

    /// Restores from a checkpoint the buffers that training changes.
    ///
    /// # Errors
    /// A file that is missing, damaged or belongs to another model.
    pub(super) fn restore(&self, checkpoint: &Path) -> Result<Progress> {
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
            self.ctx.write(&name, 0, tensor.data())?;
        }
        Ok(Progress { step: metadata.step, seconds: metadata.seconds })
    }

    /// Name and length of every buffer that training changes.
    fn state_buffers(&self) -> Vec<(String, usize)> {
        let parameters = self.objective.model().parameters();
        let length = parameters.flat_shape().len();
        let mut all: Vec<(String, usize)> =
            [PARAMETERS, FIRST_MOMENT, SECOND_MOMENT, EMA].map(|name| (name.to_string(), length)).into();
        if let Some(statistics) = parameters.statistics() {
            all.extend([PARAMETERS, EMA].map(|name| (statistics_of(name), statistics.len())));
        }
        all.extend(self.objective.state().into_iter().map(|(name, values)| (name.to_string(), values.len())));
        all
    }
}

/// Removes incomplete checkpoints from a run folder, which a killed process leaves.
///
/// # Errors
/// A folder that cannot be read or changed.
pub fn clear_partial(run: &Path) -> Result<()> {
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let entry = entry.map_err(Error::io(run))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PARTIAL_PREFIX) && name.ends_with(PARTIAL_SUFFIX) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn serialize(parts: &[(String, usize)], values: &[Vec<f32>]) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let mut views = Vec::new();
    for ((name, _), values) in parts.iter().zip(values) {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    safetensors::serialize(views, None)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}
