//! The files of an evaluation.

use super::evaluation::Evaluation;
use super::run::EvaluationOutput;
use super::sample_cache;
use crate::data::Dataset;
use crate::files::{check_writable, create_folder, write_atomically};
use crate::output::{Images, npz};
use crate::{Error, Result};
use std::path::Path;

/// File name of the grid of samples.
pub const GRID: &str = "grid.png";
/// File name of the samples nearest to training images.
pub const CLOSEST: &str = "closest.png";

/// Checks before a long evaluation that its files can be written, and that they do not replace
/// files that no evaluation made.
///
/// # Errors
/// A folder that cannot be written; a picture without an evaluation.
pub fn check_outputs(folder: &Path, archive: Option<&Path>) -> Result<()> {
    if let Some(archive) = archive {
        check_writable(archive)?;
    }
    let file = folder.join(Evaluation::FILE);
    // Also by another version.
    let json = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    let made = json.is_some_and(|evaluation| evaluation.get("target").is_some());
    if file.exists() && !made {
        return Err(Error::file(file, "is not an evaluation, and one would replace it: choose another --out"));
    }
    match [GRID, CLOSEST].map(|name| folder.join(name)).into_iter().find(|path| path.exists()) {
        Some(path) if !made => {
            Err(Error::file(path, "does not belong to an evaluation, which would replace it: choose another --out"))
        }
        _ => Ok(()),
    }
}

/// Writes `evaluation.json` and the images into a folder, replacing the files of an earlier
/// evaluation. Also writes the samples into `archive`, if there is one, and removes the cached
/// samples.
///
/// # Errors
/// [`Error::NonFinite`] if a value of the evaluation is not finite.
pub fn write(output: &EvaluationOutput, folder: &Path, archive: Option<&Path>, data: &Dataset) -> Result<()> {
    create_folder(folder)?;
    let json = serde_json::to_string_pretty(&output.evaluation).map_err(|e| Error::Config(e.to_string()))?;
    // JSON cannot represent values that are not finite: they are written as null and cannot be read
    // back.
    if serde_json::from_str::<Evaluation>(&json).is_err() {
        let problem =
            "a value of the evaluation is not finite: the checkpoint may be damaged, or its training diverged";
        return Err(Error::NonFinite(problem.into()));
    }
    write_atomically(&folder.join(Evaluation::FILE), format!("{json}\n").as_bytes())?;
    let text = [("Software", "degrain")];
    output.grid.save_png(&folder.join(GRID), &text)?;
    output.closest.save_png(&folder.join(CLOSEST), &text)?;
    if let Some(archive) = archive {
        let [channels, height, width] = data.shape().map(|n| n as usize);
        let count = output.samples.bytes.len() / data.pixels();
        let images = Images::new(&output.samples.bytes, [count, channels, height, width]);
        npz::save_npz(archive, &images, output.samples.labels.as_deref())?;
    }
    sample_cache::remove(&output.caches)
}
