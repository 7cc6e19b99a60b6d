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
use png::{BitDepth, ColorType};
use std::io::Cursor;
use std::path::{Path, PathBuf};

pub(super) const FORMAT: Format = Format { names, load };

/// Longest accepted side. The header of a damaged file can promise 2^31, which must not be
/// allocated.
const LONGEST_SIDE: u32 = 8192;
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
    let first = Image::read(&place.join(&names[0]))?;
    let size = first.planes.len();
    let mut images = Vec::with_capacity(names.len() * size);
    for name in &names {
        let path = place.join(name);
        let image = Image::read(&path)?;
        if image.kind() != first.kind() {
            let (other, [this, that]) = (&names[0], [&image, &first].map(Image::kind));
            let problem = format!(
                "is {this}, but {other} is {that}: all images of a folder must have the same size and channels"
            );
            return Err(Error::file(&path, problem));
        }
        images.extend_from_slice(&image.planes);
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
        height: first.height as usize,
        width: first.width as usize,
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

/// One image.
struct Image {
    channels: usize,
    height: u32,
    width: u32,
    /// `[channels, height, width]` bytes.
    planes: Vec<u8>,
}

impl Image {
    fn read(path: &Path) -> Result<Image> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let problem = |problem: String| Error::file(path, problem);
        let damaged = |error| problem(format!("is not a readable PNG ({error}): replace or remove it"));
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(damaged)?;
        let info = reader.info();
        let (height, width) = (info.height, info.width);
        let channels = match (info.color_type, info.bit_depth) {
            (ColorType::Indexed, _) => {
                return Err(problem("is a PNG with a palette: convert it to RGB with 8 bits per channel".into()));
            }
            (ColorType::GrayscaleAlpha | ColorType::Rgba, _) => {
                let advice = "put it on a background and save it as grayscale or RGB without alpha";
                return Err(problem(format!("is a PNG with an alpha channel: {advice}")));
            }
            _ if info.trns.is_some() => {
                return Err(problem("is a PNG with a transparent color: save it without transparency".into()));
            }
            (ColorType::Grayscale, BitDepth::Eight) => 1,
            (ColorType::Rgb, BitDepth::Eight) => 3,
            (_, depth) => {
                let bits = depth as u8;
                return Err(problem(format!("is a PNG of {bits} bits per channel: convert it to 8 bits")));
            }
        };
        if height.max(width) > LONGEST_SIDE {
            let advice = format!("the longest side allowed is {LONGEST_SIDE}: scale it down");
            return Err(problem(format!("is {width} x {height} pixels large: {advice}")));
        }
        let mut pixels = vec![0; channels * height as usize * width as usize];
        reader.next_frame(&mut pixels).map_err(damaged)?;
        // Reads to the end, to detect a truncated file.
        reader.finish().map_err(damaged)?;
        let planes = (0..channels).flat_map(|channel| pixels.iter().skip(channel).step_by(channels).copied()).collect();
        Ok(Image { channels, height, width, planes })
    }

    /// Size and channels in words. They must be the same for all images of a folder.
    fn kind(&self) -> String {
        let color = if self.channels == 1 { "grayscale" } else { "RGB" };
        format!("{} x {} pixels (width x height) in {color}", self.width, self.height)
    }
}
