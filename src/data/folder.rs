//! A folder of PNG files of one size, all gray or all RGB, with 8 bits per channel, and an optional
//! `labels.csv` next to them.
//!
//! The training images are in the folder itself or in its subfolder `train/`, and the test images
//! are in `test/`. Images are sorted by the bytes of their names: img10.png comes before img9.png.
//! Without `labels.csv` all images have one class, `image`.

use super::dataset::{DataFile, Dataset, Split, Statistics};
use super::format::Format;
use super::labels::{self, LabelFile};
use super::source::{matching, sum};
use crate::error::{Error, Result};
use crate::memory;
use crate::output::Picture;
use std::path::{Path, PathBuf};

pub(super) const FORMAT: Format = Format { names, load };

/// Longest accepted side of an image.
const LONGEST_SIDE: usize = 8192;
/// Extensions of image formats that are not read.
const OTHER_KINDS: [&str; 6] = ["jpg", "jpeg", "webp", "bmp", "gif", "tiff"];

fn names(split: Split) -> Vec<String> {
    let names: &[&str] = match split {
        Split::Train => &["*.png", "train/*.png"],
        Split::Test => &["test/*.png"],
    };
    names.iter().map(ToString::to_string).collect()
}

fn load(folder: &Path, split: Split) -> Result<Dataset> {
    let Some(place) = place(folder, split)? else {
        let wanted = names(split).join(", ");
        return Err(Error::file(folder, format!("a file is missing; looked in this folder for {wanted}")));
    };
    let names = images_in(&place)?;
    let first = read_image(&place.join(&names[0]))?;
    let size = first.bytes.len();
    check_memory(&place, names.len(), &first)?;
    let mut images = Vec::with_capacity(names.len() * size);
    for name in &names {
        let path = place.join(name);
        let image = read_image(&path)?;
        if kind(&image) != kind(&first) {
            let (other, [this, that]) = (&names[0], [&image, &first].map(kind));
            let problem = format!(
                "is {this}, but {other} is {that}: all images of a folder must have the same size and channels"
            );
            return Err(Error::file(&path, problem));
        }
        let channels = image.channels;
        images.extend((0..channels).flat_map(|channel| image.bytes.iter().skip(channel).step_by(channels)));
    }
    let named = names.iter().zip(images.chunks_exact(size));
    let parts: Vec<&[u8]> = named.flat_map(|(name, image)| [name.as_bytes(), &[0], image]).collect();
    let mut files = vec![DataFile { path: place.clone(), sha256: sum(&parts), known: None }];

    let (labels, class_names) = match LabelFile::read(&place)? {
        Some(labels) => {
            let class_names = training_classes(folder, split)?.unwrap_or_else(|| labels.classes());
            files.push(labels.file.clone());
            (labels.class_indices(&names, &class_names)?, class_names)
        }
        None if training_classes(folder, split)?.is_some() => {
            let problem = format!("has no {}, but the training images have one", labels::NAME);
            return Err(Error::file(&place, problem));
        }
        None => (vec![0; names.len()], vec!["image".to_string()]),
    };
    Ok(Dataset {
        name: "images".to_string(),
        statistics: Statistics::new(&images),
        images,
        labels,
        count: names.len(),
        channels: first.channels,
        height: first.height,
        width: first.width,
        classes: class_names.len(),
        class_names,
        // The images may be digits or letters.
        mirrors: false,
        files,
    })
}

/// The folder that holds the images of a split; `None` if there are none.
fn place(folder: &Path, split: Split) -> Result<Option<PathBuf>> {
    let below = folder.join(if split == Split::Train { "train" } else { "test" });
    let (above, has_below) = (!images_in(folder)?.is_empty(), below.is_dir() && !images_in(&below)?.is_empty());
    let here = above && split == Split::Train;
    if here && has_below {
        let problem = format!("holds PNG files, and so does {}: put them into one of the two", below.display());
        return Err(Error::file(folder, problem));
    }
    let labels = folder.join(labels::NAME);
    if has_below && !above && labels.is_file() {
        let problem = format!("is not in the folder of the images: move it to {}", below.display());
        return Err(Error::file(labels, problem));
    }
    Ok(if here { Some(folder.to_path_buf()) } else { has_below.then_some(below) })
}

/// Names of the PNG files in a folder, sorted. Images of other formats next to them are an error,
/// because they would be left out silently.
fn images_in(place: &Path) -> Result<Vec<String>> {
    let names = matching(place, &["*.png".to_string()])?;
    if !names.is_empty() {
        let others = OTHER_KINDS.map(|kind| format!("*.{kind}"));
        if let Some(other) = matching(place, &others)?.first() {
            let problem = "is not a PNG file, but is in a folder of PNG files: convert or remove it";
            return Err(Error::file(place.join(other), problem));
        }
    }
    Ok(names)
}

/// The class names of the training images, in the order of the class numbers of a model. `None` if
/// the training images themselves are loaded, or without labels.
fn training_classes(folder: &Path, split: Split) -> Result<Option<Vec<String>>> {
    let training = if split == Split::Test { place(folder, Split::Train)? } else { None };
    let labels = training.map_or(Ok(None), |place| LabelFile::read(&place))?;
    Ok(labels.map(|labels| labels.classes()))
}

/// Reads one image and checks the length of its sides.
fn read_image(path: &Path) -> Result<Picture> {
    let picture = Picture::load_png(path)?;
    let Picture { height, width, .. } = picture;
    if height.max(width) > LONGEST_SIDE {
        let problem =
            format!("is {width} x {height} pixels large: the longest side allowed is {LONGEST_SIDE}: scale it down");
        return Err(Error::file(path, problem));
    }
    Ok(picture)
}

/// Size and channels in words. They must be the same for all images of a folder.
fn kind(picture: &Picture) -> String {
    let color = if picture.channels == 1 { "grayscale" } else { "RGB" };
    format!("{} x {} pixels (width x height) in {color}", picture.width, picture.height)
}

/// Refuses more images than the memory can hold.
fn check_memory(place: &Path, count: usize, image: &Picture) -> Result<()> {
    let bytes = count as u128 * image.bytes.len() as u128;
    if memory::fits(bytes) {
        return Ok(());
    }
    let problem = format!(
        "holds {count} images of {} x {} pixels, {:.1} GB in all, more than the memory that is available: use fewer or \
         smaller images",
        image.width,
        image.height,
        bytes as f64 * 1e-9
    );
    Err(Error::file(place, problem))
}
