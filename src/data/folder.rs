//! A folder of image files: PNG, JPEG, WebP and BMP, of any size and color.
//!
//! The training images are in the folder itself or in its subfolder `train/`, and the test images
//! in `test/`, `val/`, `valid/` or `validation/`. Subfolders are classes, as in torchvision's
//! `ImageFolder`, unless there is a file of labels ([`labels`]). Without both, all
//! images have one class, `image`.

mod cache;
mod decode;
mod listing;
mod parallel;
mod survey;

use super::class_table::ClassTable;
use super::dataset::{DataFile, Dataset, Split, Statistics};
use super::format::Format;
use super::labels::LabelFile;
use super::load_options::LoadOptions;
use super::pixels::Pixels;
use super::source::sum;
use crate::error::{Error, Result};
use crate::memory;
use crate::output::counted;
use cache::{Collector, Summary};
use decode::{Target, decode};
use listing::Listing;
use parallel::Bar;
use std::fs;
use std::path::Path;
use survey::{Sizes, Surveyed, headers, survey, unreadable};

/// Images that are decoded before they are written, to bound the memory.
const AHEAD: usize = 256;
/// Bytes that these have at most.
const AHEAD_BYTES: usize = 1 << 28;
/// Damaged files that are named.
const NAMED: usize = 3;

pub(super) const FORMAT: Format = Format { names, has_sizes: true, holds, load };

/// The name of the only class of images without labels.
const ONLY_CLASS: &str = "image";

fn names(split: Split) -> Vec<String> {
    let places: &[&str] = if split == Split::Train { &["", "train/"] } else { &["test/"] };
    places.iter().flat_map(|place| ["png", "jpg", "webp", "bmp"].map(|kind| format!("{place}*.{kind}"))).collect()
}

fn holds(folder: &Path) -> Result<bool> {
    Ok(Listing::find(folder, Split::Train)?.is_some() || Listing::find(folder, Split::Test)?.is_some())
}

fn load(folder: &Path, split: Split, options: &LoadOptions) -> Result<Dataset> {
    let Some(listing) = Listing::find(folder, split)? else {
        let wanted = names(split).join(", ");
        return Err(Error::file(folder, format!("a file is missing; looked in this folder for {wanted}")));
    };
    // Before the images are read: a mistake in the labels is reported in seconds.
    let labels = labels(folder, split, &listing)?;
    let files = survey(&listing);
    check_headers(&listing, &files, options)?;
    let sizes = Sizes::new(&listing.place, files.iter().map(|file| &file.header))?;
    // The test images get the size of the training images.
    let training = if split == Split::Test { Listing::find(folder, Split::Train)? } else { None };
    let target = match training {
        Some(training) => Sizes::new(&training.place, headers(&training).iter())?.target(options),
        None => sizes.target(options),
    };
    let key = key(&listing, &files, &target);
    let (images, summary, cache_note) = decoded(&listing, &files, &target, (&key, options))?;
    check_damaged(&listing, &summary, options)?;

    let mut notes: Vec<String> = sizes.describe_resize(&target).into_iter().collect();
    if summary.transparent > 0 {
        notes.push(format!("{} with transparent parts were put on white", counted(summary.transparent, "image")));
    }
    notes.extend(passed_over(&listing, &summary));
    notes.extend(labels.note);
    notes.push(cache_note);
    let mut damaged = summary.damaged.iter().map(|(number, _)| *number).peekable();
    let kept = labels.indices.into_iter().enumerate().filter(|(number, _)| damaged.next_if_eq(number).is_none());
    let mut sources = vec![DataFile { path: listing.place.clone(), sha256: key, known: None }];
    sources.extend(labels.file);
    Ok(Dataset {
        name: "images".to_string(),
        statistics: Statistics::of_counts(&summary.counts),
        images,
        labels: kept.map(|(_, label)| label).collect(),
        count: summary.images,
        channels: target.channels,
        height: target.height,
        width: target.width,
        classes: labels.names.len(),
        class_names: labels.names,
        // The images may be digits or letters.
        mirrors: false,
        files: sources,
        notes,
    })
}

/// The labels of the images of a listing.
struct Labels {
    /// The class of each image.
    indices: Vec<u32>,
    /// Names of the classes.
    names: Vec<String>,
    /// The file that they are from.
    file: Option<DataFile>,
    note: Option<String>,
}

/// The labels of a split. The classes are those of the training images.
fn labels(folder: &Path, split: Split, listing: &Listing) -> Result<Labels> {
    let own = given_labels(folder, listing)?;
    let training = if split == Split::Test { Listing::find(folder, Split::Train)? } else { None };
    let training = training.map(|listing| given_labels(folder, &listing)).transpose()?;
    let table = match &training {
        Some(training) if training.labels.is_some() != own.labels.is_some() => {
            let [which, other] = if own.labels.is_some() { ["have", "have none"] } else { ["have none", "have"] };
            let problem = format!(
                "these images {which} labels, but the training images {other}: give both labels, by subfolders or by \
                 a file such as labels.csv in each folder"
            );
            return Err(Error::file(&listing.place, problem));
        }
        Some(training) => training.table(),
        None => own.table(),
    };
    let Some(labels) = &own.labels else {
        return Ok(Labels {
            indices: vec![0; listing.names.len()],
            names: vec![ONLY_CLASS.into()],
            file: own.file,
            note: own.note,
        });
    };
    let index = |(label, name): (&String, &String)| {
        table.index(label).ok_or_else(|| {
            let problem = format!("has the class {label}, which no training image has");
            Error::file(listing.path(name), problem)
        })
    };
    let indices = labels.iter().zip(&listing.names).map(index).collect::<Result<_>>()?;
    Ok(Labels { indices, names: table.names, file: own.file, note: own.note })
}

/// The labels of a listing, as the user gave them.
struct GivenLabels {
    /// The label of each image, if there are any.
    labels: Option<Vec<String>>,
    file: Option<DataFile>,
    note: Option<String>,
}

impl GivenLabels {
    fn table(&self) -> ClassTable {
        ClassTable::new(self.labels.iter().flatten().map(String::as_str))
    }
}

fn given_labels(folder: &Path, listing: &Listing) -> Result<GivenLabels> {
    if let Some(found) = LabelFile::find(folder, &listing.place, &listing.names)? {
        let labels = found.labels_of(&listing.names)?;
        let note = labels.is_none().then(|| {
            format!("{} has no column of labels ({}): no classes", found.file.path.display(), found.columns.join(", "))
        });
        return Ok(GivenLabels { labels, file: Some(found.file), note });
    }
    let labels = listing.subfolders()?.map(|labels| labels.into_iter().map(String::from).collect());
    Ok(GivenLabels { labels, file: None, note: None })
}

/// The key of a data set: a checksum of the files and of what is made of them.
fn key(listing: &Listing, files: &[Surveyed], target: &Target) -> String {
    let start = format!("{target:?}\n");
    let parts =
        listing.names.iter().zip(files).flat_map(|(name, file)| [name.as_bytes(), &[0], file.sha256.as_bytes()]);
    let parts: Vec<&[u8]> = std::iter::once(start.as_bytes()).chain(parts).collect();
    sum(&parts)
}

/// The images from the cache file, or decoded. The text says which.
fn decoded(
    listing: &Listing,
    files: &[Surveyed],
    target: &Target,
    (key, options): (&str, &LoadOptions),
) -> Result<(Pixels, Summary, String)> {
    let count = listing.names.len();
    let bytes = count as u128 * (target.channels * target.height * target.width) as u128;
    let size = format!("{:.1} MB", bytes as f64 * 1e-6);
    let Some(folder) = &options.cache else {
        let (pixels, summary) = in_memory(listing, files, (target, key), options)?;
        return Ok((pixels, summary, format!("decoded into {size} of memory")));
    };
    let path = cache::path(folder, key);
    let mut notes = vec![];
    match cache::open(&path, key, target) {
        Ok(Some((pixels, summary))) => {
            let note = format!("decoded before: {size} in the cache file {}", path.display());
            return Ok((pixels, summary, note));
        }
        Ok(None) => {}
        Err(problem) => notes.push(format!("the cache file {} is made again, because {problem}", path.display())),
    }
    // A disk without room is noticed before hours of decoding.
    let written = cache::check_room(folder, bytes).and_then(|()| {
        cache::write(&path, |write| {
            decode_all(listing, files, (target, key), options, &mut |image| write(image).map_err(Error::io(&path)))
        })
    });
    let problem = match written {
        Ok(_) => match cache::open(&path, key, target) {
            Ok(Some((pixels, summary))) => {
                notes.push(format!("decoded into the cache file {} ({size}), for the next start", path.display()));
                return Ok((pixels, summary, notes.join("\n")));
            }
            Ok(None) => "it has disappeared".to_string(),
            Err(problem) => problem,
        },
        // Every other error is about an image.
        Err(error @ Error::Io { .. }) => error.to_string(),
        Err(error) => return Err(error),
    };
    if !memory::fits(bytes) {
        return Err(Error::Config(format!(
            "the {} of {} need {size} at this resolution, more than the memory that is available, and the cache file \
             cannot be written ({problem}): make room there, or use a smaller --resolution",
            counted(count, "image"),
            listing.place.display()
        )));
    }
    let (pixels, summary) = in_memory(listing, files, (target, key), options)?;
    notes.push(format!("decoded into {size} of memory, because the cache file cannot be written ({problem})"));
    Ok((pixels, summary, notes.join("\n")))
}

fn in_memory(
    listing: &Listing,
    files: &[Surveyed],
    (target, key): (&Target, &str),
    options: &LoadOptions,
) -> Result<(Pixels, Summary)> {
    let bytes = listing.names.len() as u128 * (target.channels * target.height * target.width) as u128;
    if !memory::fits(bytes) {
        return Err(Error::file(
            &listing.place,
            format!(
                "{} need {:.1} GB at this resolution, more than the memory that is available: use a smaller \
                 --resolution",
                counted(listing.names.len(), "image"),
                bytes as f64 * 1e-9
            ),
        ));
    }
    let mut pixels = Vec::with_capacity(bytes as usize);
    let summary = decode_all(listing, files, (target, key), options, &mut |image| {
        pixels.extend_from_slice(image);
        Ok(())
    })?;
    Ok((pixels.into(), summary))
}

/// Decodes all images on all cores, and gives them to `keep` in their order.
fn decode_all(
    listing: &Listing,
    files: &[Surveyed],
    (target, key): (&Target, &str),
    options: &LoadOptions,
    keep: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Summary> {
    let numbers: Vec<usize> = (0..listing.names.len()).collect();
    let pixels = target.channels * target.height * target.width;
    let ahead = (AHEAD_BYTES / pixels).clamp(parallel::threads(), AHEAD.max(parallel::threads()));
    let bar = Bar::new(numbers.len(), "decoding");
    let mut collector = Collector::new(key, target);
    for numbers in numbers.chunks(ahead) {
        let images = parallel::map(numbers, &bar, |&number| {
            files[number].header.as_ref().map_err(String::clone)?;
            let bytes = fs::read(listing.path(&listing.names[number])).map_err(|error| unreadable(&error))?;
            decode(&bytes, target)
        });
        for (number, image) in numbers.iter().zip(images) {
            match image {
                Ok(image) => {
                    keep(&image.bytes)?;
                    collector.add(&image.bytes, image.transparent);
                }
                Err(problem) if options.skip_damaged => collector.add_damaged(*number, problem),
                Err(problem) => return Err(damaged_file(listing, *number, &problem, 0)),
            }
        }
    }
    Ok(collector.finish())
}

/// Refuses files whose headers cannot be read, unless damaged files are skipped.
fn check_headers(listing: &Listing, files: &[Surveyed], options: &LoadOptions) -> Result<()> {
    let damaged = || files.iter().enumerate().filter_map(|(number, file)| Some((number, file.header.as_ref().err()?)));
    match damaged().next() {
        Some((number, problem)) if !options.skip_damaged => {
            Err(damaged_file(listing, number, problem, damaged().count() - 1))
        }
        _ => Ok(()),
    }
}

/// Refuses damaged files of a cache file, unless they are skipped and others are left.
fn check_damaged(listing: &Listing, summary: &Summary, options: &LoadOptions) -> Result<()> {
    match summary.damaged.first() {
        Some(_) if options.skip_damaged && summary.images == 0 => {
            Err(Error::file(&listing.place, "holds no image that can be read"))
        }
        Some((number, problem)) if !options.skip_damaged => {
            Err(damaged_file(listing, *number, problem, summary.damaged.len() - 1))
        }
        _ => Ok(()),
    }
}

/// The error for a damaged file when `more` others are damaged.
fn damaged_file(listing: &Listing, number: usize, problem: &str, more: usize) -> Error {
    let more = match more {
        0 => String::new(),
        more => format!(" ({more} more of {} cannot be read either)", counted(listing.names.len(), "file")),
    };
    let path = listing.path(&listing.names[number]);
    Error::file(path, format!("{problem}, or leave such files out with --skip-damaged{more}"))
}

/// Which files were passed over, and why.
fn passed_over(listing: &Listing, summary: &Summary) -> Vec<String> {
    let mut notes: Vec<String> = listing
        .passed_over
        .iter()
        .map(|(reason, count)| format!("passed over: {} {reason}", counted(*count, "file")))
        .collect();
    if !summary.damaged.is_empty() {
        let names = summary.damaged.iter().map(|(number, problem)| format!("{} {problem}", listing.names[*number]));
        let named: Vec<String> = names.take(NAMED).collect();
        let more = summary.damaged.len() - named.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let count = counted(summary.damaged.len(), "damaged file");
        notes.push(format!("passed over: {count}: {}{more}", named.join("; ")));
    }
    notes
}
