//! Data sets as bytes: the content of the files, checked and otherwise unchanged.
//!
//! Host only: this layer does not know devices, tensors or training. Each format has one file here
//! and one entry in `FORMATS`.

mod cifar;
mod dataset;
mod folder;
mod format;
mod idx;
mod imagenet;
mod known;
mod labels;
mod npy;
mod npz;
mod samples;
mod source;
mod stream;

pub use dataset::{DataFile, Dataset, Split, Statistics};
pub use samples::images_of_npz;
pub use stream::{Chunk, Stream};

use crate::error::{Error, Result};
use format::Format;
use std::path::Path;

/// The formats, in the order in which a folder is checked for them.
const FORMATS: &[Format] = &[idx::FORMAT, cifar::FORMAT, imagenet::FORMAT, folder::FORMAT];

/// Reads one split of the data set in `folder`.
///
/// # Errors
/// [`Error::Io`] for a folder or file that cannot be read; [`Error::File`] naming the file that is
/// missing, damaged, or not what its name says.
pub fn load(folder: &Path, split: Split) -> Result<Dataset> {
    // `read_dir` and not `exists`: it says why a folder cannot be read.
    std::fs::read_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let here = std::env::current_dir().map_or_else(|_| ".".into(), |here| here.display().to_string());
            let place = if folder.is_absolute() { String::new() } else { format!(" in {here}") };
            let problem =
                format!("there is no such folder{place}: name the folder of the data set's files with --data");
            Error::file(folder, problem)
        }
        _ => Error::io(folder)(error),
    })?;
    // The names of both splits are checked. If a folder has only the other split, the reader of its
    // format says what is missing.
    let names = |format: &Format| [(format.names)(Split::Train), (format.names)(Split::Test)].concat();
    for format in FORMATS {
        if !source::matching(folder, &names(format))?.is_empty() {
            return (format.load)(folder, split);
        }
    }
    let wanted: Vec<String> = FORMATS.iter().flat_map(|format| (format.names)(split)).collect();
    Err(Error::file(folder, format!("holds no data set; looked in this folder for {}", wanted.join(", "))))
}
