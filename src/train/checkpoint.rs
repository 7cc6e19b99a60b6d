//! Checkpoints: a pipeline folder with the averaged weights, and beside it all that a resumed run needs to go on bit for bit
//! (`training_state.safetensors`: parameters, moments and average as they lie in memory).
//!
//! A folder is written under a temporary name and renamed when it is complete, so an interrupted save leaves the last checkpoint intact.

use super::programs::{EMA, Job, MOMENTS};
use crate::diffusion::{CheckpointMetadata, pipeline};
use crate::files::write_atomically;
use crate::gpu::Context;
use crate::nn::{PARAMETERS, statistics_of};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use std::fs;
use std::path::Path;

/// The slabs of the training state that have the parameters' layout; the last is what is sampled from.
const SLABS: [&str; 4] = [PARAMETERS, MOMENTS[0], MOMENTS[1], EMA];
const STATE_FILE: &str = "training_state.safetensors";
/// Beginning and end of the name of a checkpoint that is not complete.
const PARTIAL: [&str; 2] = [".checkpoint-", ".partial"];

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Steps made.
    pub step: u32,
    /// Seconds trained.
    pub seconds: f64,
}

/// Saves the run into its folder, and removes all but the last checkpoints that the settings keep.
///
/// # Errors
/// The device's; a full disk, named with the file.
pub fn save(ctx: &Context, job: &Job<'_>, run: &Path, progress: &Progress) -> Result<()> {
    let (objective, model) = (job.objective, job.objective.model());
    let parts = parts(job);
    let values: Vec<Vec<f32>> = parts.iter().map(|(name, length)| ctx.read(name, 0, *length)).collect::<Result<_>>()?;
    let averaged = model.parameters().read(ctx, EMA)?;
    let mut card = CheckpointMetadata {
        step: progress.step,
        seconds: progress.seconds,
        dataset: job.dataset.name.clone(),
        class_names: job.dataset.class_names.clone(),
        ..CheckpointMetadata::default()
    };
    objective.complete(&mut card);
    let partial = run.join(format!("{}{}{}", PARTIAL[0], progress.step, PARTIAL[1]));
    let written = (|| {
        remove(&partial)?;
        pipeline::write(&partial, model, &averaged, objective.scheduler().as_ref(), &card)?;
        let path = partial.join(STATE_FILE);
        write_atomically(&path, &serialize(&parts, &values).map_err(|e| Error::file(&path, e.to_string()))?)
    })();
    if let Err(error) = written {
        // The first error is the one to report; on a full disk the space is given back.
        let _ = remove(&partial);
        return Err(error);
    }
    let complete = run.join(format!("checkpoint-{}", progress.step));
    remove(&complete)?;
    fs::rename(&partial, &complete).map_err(Error::io(&complete))?;
    let all = pipeline::checkpoints(run)?;
    let superfluous = all.len().saturating_sub(job.config.keep_checkpoints as usize);
    all[..superfluous].iter().try_for_each(|(_, path)| remove(path))
}

/// Removes what a killed process left half-written.
///
/// # Errors
/// A folder that cannot be read or changed.
pub fn clear_partial(run: &Path) -> Result<()> {
    for entry in fs::read_dir(run).map_err(Error::io(run))? {
        let entry = entry.map_err(Error::io(run))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PARTIAL[0]) && name.ends_with(PARTIAL[1]) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Name and length of every memory that training changes.
fn parts(job: &Job<'_>) -> Vec<(String, usize)> {
    let parameters = job.objective.model().parameters();
    let mut all: Vec<(String, usize)> = SLABS.iter().map(|name| (name.to_string(), parameters.slab().len())).collect();
    if let Some(statistics) = parameters.statistics() {
        all.extend([PARAMETERS, EMA].map(|name| (statistics_of(name), statistics.len())));
    }
    all.extend(job.objective.state().into_iter().map(|(name, values)| (name.to_string(), values.len())));
    all
}

fn serialize(parts: &[(String, usize)], values: &[Vec<f32>]) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let mut views = Vec::new();
    for ((name, _), values) in parts.iter().zip(values) {
        views.push((name, TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))?));
    }
    safetensors::serialize(views, None)
}

/// Puts the state of a checkpoint into memory, and says how far it had come.
///
/// # Errors
/// A missing, damaged or foreign file.
pub fn restore(ctx: &Context, job: &Job<'_>, checkpoint: &Path) -> Result<Progress> {
    let path = checkpoint.join(STATE_FILE);
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let state = SafeTensors::deserialize(&bytes).map_err(|e| Error::file(&path, format!("damaged: {e}")))?;
    for (name, length) in parts(job) {
        let name = &name;
        let tensor = state.tensor(name).map_err(|e| Error::file(&path, e.to_string()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [length] {
            let problem =
                format!("`{name}` has the shape {:?}, but this model needs [{length}] of F32", tensor.shape());
            return Err(Error::file(&path, problem));
        }
        ctx.write(name, 0, tensor.data())?;
    }
    let missing = || Error::file(checkpoint, "has no degrain.json: it was made by others, and cannot be resumed");
    let card = CheckpointMetadata::read(checkpoint)?.ok_or_else(missing)?;
    Ok(Progress { step: card.step, seconds: card.seconds })
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder)(error)),
        _ => Ok(()),
    }
}
