//! Finds the images of one split of a folder, and the subfolders that are their classes.

use crate::data::dataset::Split;
use crate::data::image_names::{extension, is_image_name};
use crate::data::labels;
use crate::data::split_names::{TEST_FOLDERS, TRAIN_FOLDERS};
use crate::error::{Error, Result};
use crate::output::counted;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;
use walkdir::WalkDir;

/// Extensions of image formats that are not read.
const OTHER_EXTENSIONS: [&str; 17] = [
    "pgm", "ppm", "tga", "avif", "cr2", "dng", "gif", "heic", "heif", "ico", "jp2", "jxl", "nef", "psd", "svg", "tif",
    "tiff",
];
/// Subfolders are searched to this depth.
const DEPTH: usize = 16;

/// The image files of one split.
#[derive(Debug)]
pub(super) struct Listing {
    /// The folder that the names are relative to.
    pub place: PathBuf,
    /// Names with `/` between folders, sorted by their bytes: img10.png comes before img9.png.
    pub names: Vec<String>,
    /// Number of files that were skipped, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Which subfolders hold the splits, for the user.
    pub note: Option<String>,
}

/// The images of both splits.
#[derive(Debug, Default)]
pub(super) struct Splits {
    pub train: Option<Listing>,
    pub test: Option<Listing>,
}

impl Splits {
    /// The images of a folder.
    ///
    /// # Errors
    /// A folder that cannot be read; training images in two places.
    pub fn find(folder: &Path) -> Result<Splits> {
        let named = |names: &[&str]| split_folders(folder, names);
        let (trains, tests) = (named(&TRAIN_FOLDERS)?, named(&TEST_FOLDERS)?);
        let mut test = None;
        for place in &tests {
            test = Listing::below(place, &[])?;
            if test.is_some() {
                break;
            }
        }
        let mut below = None;
        for place in &trains {
            below = Listing::below(place, &[])?;
            if below.is_some() {
                break;
            }
        }
        let without: Vec<&Path> = trains.iter().chain(&tests).map(PathBuf::as_path).collect();
        let here = Listing::below(folder, &without)?;
        if let (Some(here), Some(below)) = (&here, &below) {
            let problem = format!(
                "holds images ({}), and so does {}: put all training images into one of the two, or rename this \
                 subfolder if it is a class",
                here.names[0],
                below.place.display()
            );
            return Err(Error::file(folder, problem));
        }
        let mut train = here.or(below);
        let others: Vec<String> = tests
            .iter()
            .filter(|place| test.as_ref().is_none_or(|test| test.place != **place))
            .map(|place| place.display().to_string())
            .collect();
        let others = if others.is_empty() { String::new() } else { format!("; {} is not used", others.join(", ")) };
        if let Some(test) = &mut test {
            let note = Some(format!("the test images are in {}{others}", test.place.display()));
            test.note.clone_from(&note);
            train.iter_mut().for_each(|train| train.note.clone_from(&note));
        }
        Ok(Splits { train, test })
    }

    /// The images of a split, and the training images if it is another split.
    pub fn choose(self, split: Split) -> (Option<Listing>, Option<Listing>) {
        match split {
            Split::Train => (self.train, None),
            Split::Test => (self.test, self.train),
        }
    }
}

/// The subfolders with one of these names, in the order of the names.
fn split_folders(folder: &Path, names: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if let Some(place) = names.iter().position(|wanted| *wanted == name)
            && path.is_dir()
        {
            found.push((place, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The image formats of a folder that are not read, with their numbers of files.
pub(super) fn unread_formats(folder: &Path) -> Result<Vec<String>> {
    let mut skipped = BTreeMap::new();
    Listing::walk(folder, &[], &mut skipped)?;
    Ok(skipped.into_iter().map(|(reason, count)| format!("{} {reason}", counted(count, "file"))).collect())
}

impl Listing {
    /// All images of a folder and its subfolders, without some of the subfolders.
    fn below(place: &Path, without: &[&Path]) -> Result<Option<Listing>> {
        let mut skipped = BTreeMap::new();
        let names = Listing::walk(place, without, &mut skipped)?;
        Ok((!names.is_empty()).then(|| Listing { place: place.to_path_buf(), names, skipped, note: None }))
    }

    /// The names of the images, sorted. Files of other formats are counted.
    fn walk(place: &Path, without: &[&Path], skipped: &mut BTreeMap<String, usize>) -> Result<Vec<String>> {
        let mut names = vec![];
        let mut skip = |reason: String| *skipped.entry(reason).or_default() += 1;
        let wanted = |entry: &walkdir::DirEntry| {
            entry.depth() == 0
                || !entry.file_name().to_string_lossy().starts_with('.') && !without.contains(&entry.path())
        };
        let walk = WalkDir::new(place).follow_links(true).max_depth(DEPTH).into_iter().filter_entry(wanted);
        for entry in walk {
            let (path, is_file) = match &entry {
                Ok(entry) => (entry.path(), entry.file_type().is_file()),
                Err(error) if error.loop_ancestor().is_some() => {
                    skip("that is a link to a folder above it".into());
                    continue;
                }
                // A link to nothing is reported as a damaged image, if it has the name of one.
                Err(error) => match error.path().filter(|path| path.is_symlink()) {
                    Some(path) => (path, true),
                    None => {
                        let path = error.path().unwrap_or(place).to_path_buf();
                        return Err(Error::io(&path)(entry.map_or_else(Into::into, |_| std::io::Error::other(""))));
                    }
                },
            };
            let extension = extension(path);
            if !is_file {
                continue;
            }
            if OTHER_EXTENSIONS.contains(&&*extension) {
                skip(format!(".{extension}, a format that is not read: convert to PNG"));
            }
            if !is_image_name(path) {
                continue;
            }
            let relative = path.strip_prefix(place).unwrap_or(path);
            let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
            let Some(parts) = parts else {
                return Err(Error::file(path, "has a name that is not UTF-8: rename it"));
            };
            names.push(parts.join("/"));
        }
        names.sort();
        Ok(names)
    }

    /// The class of each image by its subfolder; `None` if the images are not in subfolders.
    ///
    /// # Errors
    /// Images in subfolders and next to them.
    pub fn subfolders(&self) -> Result<Option<Vec<String>>> {
        // In one form of Unicode: macOS writes another.
        let class = |name: &String| name.split_once('/').map(|(class, _)| class.nfc().collect::<String>());
        let classes: Vec<Option<String>> = self.names.iter().map(class).collect();
        let inside = classes.iter().position(Option::is_some);
        let outside = classes.iter().position(Option::is_none);
        match (inside, outside) {
            (Some(inside), Some(outside)) => {
                let problem = format!(
                    "holds images ({}) next to subfolders with images ({}), so their classes are not clear: put every \
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

    /// What a user may have meant: classes in a folder below, or a table with another name.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn hint(&self, folder: &Path, classes: Option<&[String]>) -> Result<Option<String>> {
        if let Some([first, others @ ..]) = classes
            && others.iter().all(|class| class == first)
            && self.names.iter().all(|name| name.matches('/').count() > 1)
        {
            let below = self.place.join(first);
            return Ok(Some(format!(
                "all images are in {0}, one class: for its subfolders as classes use --data {0}",
                below.display()
            )));
        }
        if classes.is_some() {
            return Ok(None);
        }
        for place in [self.place.as_path(), folder] {
            for entry in std::fs::read_dir(place).map_err(Error::io(place))? {
                let path = entry.map_err(Error::io(place))?.path();
                if path.extension().is_some_and(|kind| kind == "csv" || kind == "jsonl") {
                    let hint =
                        format!("{} is not read: for labels, call it {}", path.display(), labels::NAMES.join(" or "));
                    return Ok(Some(hint));
                }
            }
        }
        Ok(None)
    }

    /// The path of an image.
    pub fn path(&self, name: &str) -> PathBuf {
        name.split('/').fold(self.place.clone(), |path, part| path.join(part))
    }
}
