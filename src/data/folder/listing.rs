//! Finds the images of one split of a folder, and the subfolders that are their classes.

use crate::data::dataset::Split;
use crate::data::labels;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Extensions of the image formats that are read. The content of a file decides its format.
pub(super) const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "jfif", "webp", "bmp"];
/// Extensions of image formats that are not read.
const OTHER_EXTENSIONS: [&str; 14] =
    ["avif", "cr2", "dng", "gif", "heic", "heif", "ico", "jp2", "jxl", "nef", "psd", "svg", "tif", "tiff"];
/// Names of the subfolder of the test images, in the order in which they are looked for.
const TEST_FOLDERS: [&str; 4] = ["test", "val", "valid", "validation"];
const TRAIN_FOLDER: &str = "train";
/// Subfolders are searched to this depth.
const DEPTH: usize = 16;

/// The image files of one split.
#[derive(Debug)]
pub(super) struct Listing {
    /// The folder that the names are relative to.
    pub place: PathBuf,
    /// Names with `/` between folders, sorted by their bytes: img10.png comes before img9.png.
    pub names: Vec<String>,
    /// Number of files that were passed over, by reason.
    pub passed_over: BTreeMap<String, usize>,
}

impl Listing {
    /// The images of a split; `None` if there are none.
    ///
    /// # Errors
    /// A folder that cannot be read; images in several places that do not fit together.
    pub fn find(folder: &Path, split: Split) -> Result<Option<Listing>> {
        let train = folder.join(TRAIN_FOLDER);
        let test = TEST_FOLDERS.map(|name| folder.join(name)).into_iter().find(|place| place.is_dir());
        if split == Split::Test {
            return test.map_or(Ok(None), |place| Listing::below(&place, &[]));
        }
        let has_splits = train.is_dir() || test.is_some();
        let below = if train.is_dir() { Listing::below(&train, &[])? } else { None };
        let mut without = TEST_FOLDERS.to_vec();
        without.push(TRAIN_FOLDER);
        let here = Listing::below(folder, if has_splits { &without } else { &[] })?;
        match (here, below) {
            (Some(here), Some(_)) => {
                let problem = format!(
                    "holds images ({}), and so does {}: put all training images into one of the two",
                    here.names[0],
                    train.display()
                );
                Err(Error::file(folder, problem))
            }
            (here, below) => Ok(here.or(below)),
        }
    }

    /// All images of a folder and its subfolders, without some of the subfolders.
    fn below(place: &Path, without: &[&str]) -> Result<Option<Listing>> {
        let (mut names, mut passed_over) = (vec![], BTreeMap::new());
        let wanted = |entry: &walkdir::DirEntry| {
            let name = entry.file_name().to_string_lossy();
            entry.depth() == 0
                || !name.starts_with('.') && !(entry.depth() == 1 && without.contains(&&*name) && entry.path().is_dir())
        };
        let walk = WalkDir::new(place).follow_links(true).max_depth(DEPTH).into_iter().filter_entry(wanted);
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.loop_ancestor().is_some() => {
                    *passed_over.entry("a link to a folder above it".to_string()).or_default() += 1;
                    continue;
                }
                Err(error) => {
                    let path = error.path().unwrap_or(place).to_path_buf();
                    return Err(Error::io(&path)(error.into()));
                }
            };
            if !entry.file_type().is_file() {
                continue;
            }
            let extension = entry.path().extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            if OTHER_EXTENSIONS.contains(&&*extension) {
                *passed_over.entry(format!(".{extension}, a format that is not read: convert to PNG")).or_default() +=
                    1;
            }
            if !EXTENSIONS.contains(&&*extension) {
                continue;
            }
            let relative = entry.path().strip_prefix(place).unwrap_or(entry.path());
            let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
            let Some(parts) = parts else {
                return Err(Error::file(entry.path(), "has a name that is not UTF-8: rename it"));
            };
            names.push(parts.join("/"));
        }
        names.sort();
        Ok((!names.is_empty()).then(|| Listing { place: place.to_path_buf(), names, passed_over }))
    }

    /// The class of each image by its subfolder; `None` if the images are not in subfolders.
    ///
    /// # Errors
    /// Images in subfolders and beside them.
    pub fn subfolders(&self) -> Result<Option<Vec<&str>>> {
        let classes: Vec<Option<&str>> =
            self.names.iter().map(|name| name.split_once('/').map(|(class, _)| class)).collect();
        let inside = classes.iter().position(Option::is_some);
        let outside = classes.iter().position(Option::is_none);
        match (inside, outside) {
            (Some(inside), Some(outside)) => {
                let problem = format!(
                    "holds images ({}) beside subfolders with images ({}), so their classes are not clear: put every \
                     image into a subfolder with the name of its class, or all into one folder, with {} if they have \
                     classes",
                    self.names[outside],
                    self.names[inside],
                    labels::NAMES[0]
                );
                Err(Error::file(&self.place, problem))
            }
            (Some(_), None) => Ok(classes.into_iter().collect()),
            _ => Ok(None),
        }
    }

    /// The path of an image.
    pub fn path(&self, name: &str) -> PathBuf {
        name.split('/').fold(self.place.clone(), |path, part| path.join(part))
    }
}
