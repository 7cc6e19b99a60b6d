//! Downsampled ImageNet (Chrabaszcz et al. 2017, "A downsampled variant of ImageNet as an
//! alternative to the CIFAR datasets"), as npz.
//!
//! The files are `train_data_batch_1.npz` to `_10.npz` and `val_data.npz`. Each has `data`, u8
//! `[N, 3 S S]`, planar red, green and blue, and `labels`, integers `[N]` from 1 to 1000. The order
//! of the labels differs from ImageNet's, so the classes are named by their numbers. The array
//! `mean` is not used. The whole data set has 3.9 GB at 32 x 32 and 15.7 GB at 64 x 64, so memory
//! for the images is reserved once and each file is unpacked into it.

use super::dataset::{DataFile, Dataset, Split, Statistics};
use super::format::Format;
use super::load_options::LoadOptions;
use super::npy::Header;
use super::npz::{Npz, NpzArray};
use super::source::{holds_any, matching, sum};
use crate::error::{Error, Result};
use crate::memory;
use std::path::Path;

pub(super) const FORMAT: Format = Format { names, has_sizes: false, holds, load };

const CLASSES: usize = 1000;
const BATCHES: usize = 10;

fn names(split: Split) -> Vec<String> {
    match split {
        Split::Train => vec!["train_data_batch_*.npz".to_string()],
        Split::Test => vec!["val_data.npz".to_string()],
    }
}

/// One file. Everything except the images has been read.
struct BatchFile {
    npz: Npz,
    /// Length of `data` in bytes.
    length: usize,
    /// Bytes of one image.
    pixels: usize,
    labels: Vec<u32>,
    /// `labels` as stored in the file, for the checksum.
    raw_labels: Vec<u8>,
}

fn holds(folder: &Path) -> Result<bool> {
    holds_any(folder, names)
}

fn load(folder: &Path, split: Split, _options: &LoadOptions) -> Result<Dataset> {
    let mut batches = Vec::new();
    for name in ordered(folder, split)? {
        let batch = BatchFile::open(&folder.join(name))?;
        let first: &BatchFile = batches.first().unwrap_or(&batch);
        if batch.pixels != first.pixels {
            return Err(Error::file(
                &batch.npz.path,
                format!(
                    "has {} bytes per image, but {} has {}: the two files do not belong to one data set",
                    batch.pixels,
                    first.npz.path.display(),
                    first.pixels
                ),
            ));
        }
        batches.push(batch);
    }
    let side = side(batches[0].pixels);
    let total: u128 = batches.iter().map(|batch| batch.length as u128).sum();
    if !memory::fits(total) {
        let problem = format!("holds {total} bytes of images, more than this machine's memory: use fewer files");
        return Err(Error::file(folder, problem));
    }
    let mut images = Vec::with_capacity(total as usize);
    let (mut labels, mut files) = (Vec::new(), Vec::new());
    for BatchFile { mut npz, length, labels: of_batch, raw_labels, .. } in batches {
        let start = images.len();
        let mut data = npz.array("data")?;
        data.read(length, &mut images)?;
        let sha256 = sum(&[&data.header.raw, &images[start..], &raw_labels]);
        drop(data);
        files.push(DataFile { path: npz.path, sha256, known: None });
        labels.extend(of_batch);
    }
    Ok(Dataset {
        name: format!("ImageNet {side}x{side}"),
        statistics: Statistics::new(&images),
        images: images.into(),
        count: labels.len(),
        labels,
        channels: 3,
        height: side,
        width: side,
        classes: CLASSES,
        class_names: (0..CLASSES).map(|class| class.to_string()).collect(),
        mirrors: true,
        files,
        notes: vec![],
    })
}

/// Names of the files, sorted by the numbers in them: 10 comes after 9, not after 1.
fn ordered(folder: &Path, split: Split) -> Result<Vec<String>> {
    let mut found = matching(folder, &names(split))?;
    let number = |name: &str| (1..=BATCHES).find(|number| name == format!("train_data_batch_{number}.npz"));
    if let Some(other) = found.iter().find(|name| split == Split::Train && number(name).is_none()) {
        let problem = "is not a batch of downsampled ImageNet (train_data_batch_1.npz to _10.npz): rename or remove it";
        return Err(Error::file(folder.join(other), problem));
    }
    if found.is_empty() {
        let wanted = names(split).join(", ");
        return Err(Error::file(folder, format!("a file is missing; looked in this folder for {wanted}")));
    }
    found.sort_by_key(|name| number(name));
    Ok(found)
}

impl BatchFile {
    fn open(path: &Path) -> Result<BatchFile> {
        let mut npz = Npz::open(path)?;
        let (count, pixels, length) = check_images(&npz.array("data")?)?;
        let (labels, raw_labels) = read_labels(&mut npz.array("labels")?, count)?;
        Ok(BatchFile { npz, length, pixels, labels, raw_labels })
    }
}

/// Number of images, bytes per image, and bytes of all images.
fn check_images(data: &NpzArray<'_>) -> Result<(usize, usize, usize)> {
    let Header { element, shape, .. } = &data.header;
    if element != "|u1" {
        return Err(data.problem(format!("holds elements of type `{element}`, not unsigned bytes (`|u1`)")));
    }
    let [count, pixels] = shape[..] else {
        return Err(data.problem(format!("has the shape {shape:?}, not [images, 3 x side x side]")));
    };
    if count == 0 || pixels == 0 {
        return Err(data.problem(format!("is empty: its shape is {shape:?}")));
    }
    if 3 * side(pixels) * side(pixels) != pixels {
        return Err(data.problem(format!("has rows of {pixels} bytes: not three planes of side x side pixels")));
    }
    Ok((count, pixels, data.length(1)?))
}

/// Rows of an image of three square planes.
fn side(pixels: usize) -> usize {
    (pixels / 3).isqrt()
}

/// The labels counted from 0, and the array as stored in the file.
fn read_labels(array: &mut NpzArray<'_>, count: usize) -> Result<(Vec<u32>, Vec<u8>)> {
    if array.header.shape != [count] {
        let shape = &array.header.shape;
        return Err(array.problem(format!("has the shape {shape:?}, but `data` holds {count} images")));
    }
    let (bytes, numbers) = array.integers()?;
    if let Some(index) = numbers.iter().position(|number| !(1..=CLASSES as i128).contains(number)) {
        let label = numbers[index];
        return Err(array.problem(format!(
            "has the label {label} at index {index} (from 0), but the labels of ImageNet are 1 to {CLASSES}"
        )));
    }
    let labels = numbers.into_iter().map(|number| number as u32 - 1).collect();
    Ok((labels, [&array.header.raw[..], &bytes].concat()))
}
