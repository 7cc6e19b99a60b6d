//! What an evaluation leaves on the disk.

use super::evaluation::Evaluation;
use super::run::Measured;
use super::sample_cache;
use crate::data::Dataset;
use crate::files::write_atomically;
use crate::output::{Images, npz};
use crate::{Error, Result};
use std::path::Path;

/// The grid of the first images.
pub const GRID: &str = "grid.png";
/// Pairs of images and their nearest training images.
pub const CLOSEST: &str = "closest.png";

/// Writes `evaluation.json` and the pictures into a folder, replacing those of an earlier evaluation; and the images, if an archive is asked for.
///
/// # Errors
/// A full disk, or a folder that cannot be written.
pub fn write(measured: &Measured, folder: &Path, archive: Option<&Path>, data: &Dataset) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let text = [("Software", "degrain")];
    measured.grid.save_png(&folder.join(GRID), &text)?;
    measured.closest.save_png(&folder.join(CLOSEST), &text)?;
    if let Some(archive) = archive {
        let [channels, height, width] = data.shape().map(|n| n as usize);
        let count = measured.drawn.bytes.len() / data.pixels();
        let images = Images::new(&measured.drawn.bytes, [count, channels, height, width]);
        npz::save_npz(archive, &images, measured.drawn.labels.as_deref())?;
    }
    let json = serde_json::to_string_pretty(&measured.evaluation).map_err(|e| Error::Config(e.to_string()))?;
    if serde_json::from_str::<Evaluation>(&json).is_err() {
        let problem = "a number of the evaluation is not finite: the checkpoint may be damaged, or was trained in a way that diverged";
        return Err(Error::NonFinite(problem.into()));
    }
    write_atomically(&folder.join(Evaluation::FILE), format!("{json}\n").as_bytes())?;
    sample_cache::clear(folder)
}
