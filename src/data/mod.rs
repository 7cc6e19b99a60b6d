//! Data sets as bytes: the content of the files, checked and otherwise unchanged.
//!
//! Host only: this layer does not know devices, tensors or training. Each format has one file here
//! and one entry in `FORMATS`.

mod cifar;
mod class_shares;
mod class_table;
mod dataset;
mod folder;
mod format;
mod idx;
mod image_names;
mod imagenet;
mod known;
mod labels;
mod load_options;
mod npy;
mod npz;
mod pixels;
mod samples;
mod source;
mod split_names;
mod stream;

pub use class_shares::proportional_labels;
pub use dataset::{DataFile, Dataset, Split, Statistics};
pub use load_options::{ChannelChoice, ImageFileOptions, LoadOptions, Resize, Resolution};
pub use pixels::Pixels;
pub use samples::{image_shape_of_npz, images_of_npz};
pub use stream::{Chunk, Stream};

use crate::error::{Error, Result};
use format::Format;
use std::path::Path;

/// The formats, in the order in which a folder is checked for them.
const FORMATS: &[Format] = &[idx::FORMAT, cifar::FORMAT, imagenet::FORMAT, folder::FORMAT];

/// Reads one split of the data set in `folder`, with the default options.
///
/// # Errors
/// As [`load_with`].
pub fn load(folder: &Path, split: Split) -> Result<Dataset> {
    load_with(folder, split, &LoadOptions::default())
}

/// Reads one split of the data set in `folder`. For a folder with several sets of EMNIST, the name
/// of one follows it, as in `data/emnist-letters`.
///
/// # Errors
/// [`Error::Io`] for a folder or file that cannot be read; [`Error::File`] naming the file that is
/// missing, damaged, or not what its name says.
pub fn load_with(folder: &Path, split: Split, options: &LoadOptions) -> Result<Dataset> {
    // The first format also knows paths that are no folders.
    if !(FORMATS[0].holds)(folder)? {
        check_folder(folder)?;
    }
    // Both splits are looked for. If a folder has only the other split, the reader of its format
    // says what is missing.
    for format in FORMATS {
        if (format.holds)(folder)? {
            return (format.load)(folder, split, options);
        }
    }
    let unread = folder::unread_formats(folder)?;
    if !unread.is_empty() {
        return Err(Error::file(folder, format!("holds no image that can be read, but {}", unread.join(", "))));
    }
    let wanted: Vec<String> = FORMATS.iter().flat_map(|format| (format.names)(split)).collect();
    Err(Error::file(folder, format!("holds no data set; looked in this folder for {}", wanted.join(", "))))
}

/// Whether a folder holds image files, and not a data set of another format.
///
/// # Errors
/// A folder that cannot be read.
pub fn is_image_folder(folder: &Path) -> Result<bool> {
    for format in FORMATS {
        if (format.holds)(folder)? {
            return Ok(format.has_sizes);
        }
    }
    Ok(false)
}

/// Refuses the first of these options for folders of image files that is given, if `folder` holds
/// a data set of another format. The options are names with whether they are given.
///
/// # Errors
/// [`Error::Config`] that names the option, and a folder that cannot be read.
pub fn check_image_options(folder: &Path, options: &[(&str, bool)]) -> Result<()> {
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) if !is_image_folder(folder)? => Err(Error::Config(format!(
            "--{option} has no effect here: it is for folders of image files, and {} holds another format",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// Refuses a path that is not a folder that can be read.
fn check_folder(folder: &Path) -> Result<()> {
    // `read_dir` and not `exists`: it says why a folder cannot be read.
    let Err(error) = std::fs::read_dir(folder) else { return Ok(()) };
    Err(match error.kind() {
        std::io::ErrorKind::NotFound => {
            let here = std::env::current_dir().map_or_else(|_| ".".into(), |here| here.display().to_string());
            let place = if folder.is_absolute() { String::new() } else { format!(" in {here}") };
            let problem =
                format!("there is no such folder{place}: name the folder of the data set's files with --data");
            Error::file(folder, problem)
        }
        std::io::ErrorKind::NotADirectory => {
            Error::file(folder, "is a file: name the folder that holds the data set's files with --data")
        }
        _ => Error::io(folder)(error),
    })
}
