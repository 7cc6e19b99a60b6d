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
use super::labels::{self, LabelFile};
use super::load_options::LoadOptions;
use super::pixels::Pixels;
use super::source::sum;
use super::split_names::TEST_FOLDERS;
use crate::error::{Error, Result};
use crate::memory;
use crate::output::counted;
use cache::{Collector, Summary};
use decode::{Decoded, Decoding, Target, decode};
use listing::{Listing, Splits};
use parallel::Bar;
use std::fs;
use std::path::Path;
use survey::{Sizes, Surveyed, headers, survey};

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
    let splits = Splits::find(folder)?;
    Ok(splits.train.is_some() || splits.test.is_some())
}

/// The image formats of a folder that are not read, for a message.
///
/// # Errors
/// A folder that cannot be read.
pub(super) fn unread_formats(folder: &Path) -> Result<Vec<String>> {
    listing::unread_formats(folder)
}

fn load(folder: &Path, split: Split, options: &LoadOptions) -> Result<Dataset> {
    let (listing, training) = Splits::find(folder)?.choose(split);
    let Some(listing) = listing else {
        let wanted = names(split).join(", ");
        let problem = match split {
            Split::Train => format!("a file is missing; looked in this folder for {wanted}"),
            Split::Test => format!("has no test images: put some into a subfolder {}", TEST_FOLDERS.join(" or ")),
        };
        return Err(Error::file(folder, problem));
    };
    // Before the images are read: a mistake in the labels is reported in seconds.
    let labels = labels(folder, &listing, training.as_ref())?;
    let files = survey(&listing);
    check_headers(&listing, &files, options)?;
    let sizes = Sizes::new(&listing.place, files.iter().map(|file| &file.header))?;
    // The test images get the size of the training images.
    let target = match training {
        Some(training) => Sizes::new(&training.place, headers(&training).iter())?.target(options),
        None => sizes.target(options),
    };
    let work = Work { listing: &listing, files: &files, target: &target, options, key: key(&listing, &files, &target) };
    let (images, summary, cache_note) = work.images()?;
    check_damaged(&listing, &summary, options)?;

    let mut notes: Vec<String> = listing.note.iter().cloned().chain(sizes.describe_resize(&target)).collect();
    if summary.transparent > 0 {
        notes.push(format!("{} with transparent parts were put on white", counted(summary.transparent, "image")));
    }
    notes.extend(skipped(&listing, &summary));
    notes.extend(labels.note);
    notes.push(cache_note);
    let mut damaged = summary.damaged.iter().map(|(number, _)| *number).peekable();
    let kept = labels.indices.into_iter().enumerate().filter(|(number, _)| damaged.next_if_eq(number).is_none());
    let mut sources = vec![DataFile { path: listing.place.clone(), sha256: work.key, known: None }];
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

/// The labels of a split. The classes are those of the training images, if they are another split.
fn labels(folder: &Path, listing: &Listing, training: Option<&Listing>) -> Result<Labels> {
    let own = GivenLabels::find(folder, listing)?;
    let training = training.map(|training| GivenLabels::find(folder, training)).transpose()?;
    if let Some(training) = training.as_ref().filter(|training| training.labels.is_some() != own.labels.is_some()) {
        let [which, other] = if training.labels.is_some() { ["have none", "have"] } else { ["have", "have none"] };
        let problem = format!(
            "the labels of these images and of the training images do not fit: these {which}, the training images \
             {other}. Give both labels, by subfolders or by a file such as labels.csv in each folder"
        );
        return Err(Error::file(&listing.place, problem));
    }
    let table = training.as_ref().unwrap_or(&own).table();
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
            let problem =
                format!("has the class {label}, which no training image has: add one, or move this image away");
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
    /// The file that they are from. If it has none, they are the names of the subfolders.
    file: Option<DataFile>,
    from_file: bool,
    note: Option<String>,
}

impl GivenLabels {
    fn find(folder: &Path, listing: &Listing) -> Result<GivenLabels> {
        let file = LabelFile::find(folder, &listing.place, &listing.names)?;
        let labels = file.as_ref().map_or(Ok(None), |file| file.labels_of(&listing.names))?;
        let from_file = labels.is_some();
        let labels = if from_file { labels } else { listing.subfolders()? };
        let note = match &file {
            Some(file) if !from_file => Some(format!(
                "{} has no column of labels: it has {}, and a column of labels is called {}",
                file.file.path.display(),
                file.columns.join(", "),
                labels::LABEL_COLUMNS.join(", ")
            )),
            Some(_) => None,
            None => listing.hint(folder, labels.as_deref())?,
        };
        Ok(GivenLabels { labels, file: file.map(|file| file.file), from_file, note })
    }

    fn table(&self) -> ClassTable {
        let labels = self.labels.iter().flatten().map(String::as_str);
        if self.from_file { ClassTable::of_labels(labels) } else { ClassTable::of_folders(labels) }
    }
}

/// Changes when the same file is decoded to other bytes by this version than by an earlier one.
const DECODER: u32 = 1;

/// The key of a data set: a checksum of the files and of what is made of them.
fn key(listing: &Listing, files: &[Surveyed], target: &Target) -> String {
    let Target { channels, height, width, resize } = target;
    let start = format!("{DECODER} {channels} {height} {width} {resize:?}\n");
    let parts =
        listing.names.iter().zip(files).flat_map(|(name, file)| [name.as_bytes(), &[0], file.sha256.as_bytes()]);
    let parts: Vec<&[u8]> = std::iter::once(start.as_bytes()).chain(parts).collect();
    sum(&parts)
}

/// What is decoded, and how.
struct Work<'a> {
    listing: &'a Listing,
    files: &'a [Surveyed],
    target: &'a Target,
    options: &'a LoadOptions,
    key: String,
}

impl Work<'_> {
    /// The images from the cache file, or decoded. The text says which.
    fn images(&self) -> Result<(Pixels, Summary, String)> {
        let size = |summary: &Summary| readable(self.target.bytes(summary.images));
        let Some(folder) = &self.options.cache else {
            let (pixels, summary) = self.in_memory(None)?;
            let note = format!("decoded into {} of memory", size(&summary));
            return Ok((pixels, summary, note));
        };
        let path = cache::path(folder, &self.key);
        let mut notes = vec![];
        match cache::open(&path, &self.key, self.target) {
            Ok(Some((pixels, summary))) => {
                let note = format!("decoded before: {} in the cache file {}", size(&summary), path.display());
                return Ok((pixels, summary, note));
            }
            Ok(None) => {}
            Err(problem) => notes.push(format!("the cache file {} is made again, because {problem}", path.display())),
        }
        let removed = cache::remove_unfinished(folder);
        if removed > 0 {
            notes.push(format!("removed {} of a command that was killed", counted(removed, "unfinished cache file")));
        }
        let problem = match self.write_cache(folder, &path) {
            Ok(()) => match cache::open(&path, &self.key, self.target) {
                Ok(Some((pixels, summary))) => {
                    let size = size(&summary);
                    notes.push(format!("decoded into the cache file {} ({size}), for the next start", path.display()));
                    return Ok((pixels, summary, notes.join("\n")));
                }
                Ok(None) => "the cache file has disappeared".to_string(),
                Err(problem) => format!("the cache file cannot be used: {problem}"),
            },
            // Every other error is about an image.
            Err(Error::Io { path: place, source }) if place.starts_with(folder) => {
                format!("the cache file cannot be written: {}", Error::Io { path: place, source })
            }
            Err(error) => return Err(error),
        };
        let (pixels, summary) = self.in_memory(Some(&problem))?;
        notes.push(format!("decoded into {} of memory, because {problem}", size(&summary)));
        Ok((pixels, summary, notes.join("\n")))
    }

    fn write_cache(&self, folder: &Path, path: &Path) -> Result<()> {
        // A disk without room is noticed before hours of decoding.
        cache::check_room(folder, self.target.bytes(self.listing.names.len()))?;
        cache::write(path, |write| self.decode_all(&mut |image| write(image).map_err(Error::io(path))))?;
        Ok(())
    }

    /// Decodes into memory. `problem` is why there is no cache file.
    fn in_memory(&self, problem: Option<&str>) -> Result<(Pixels, Summary)> {
        let bytes = self.target.bytes(self.listing.names.len());
        if !memory::fits(bytes) {
            let problem = problem.map_or_else(String::new, |problem| format!(", and {problem}"));
            let problem = format!(
                "its {} need {} at this resolution, more than the memory that is available{problem}: train with a \
                 smaller --resolution, or free some space",
                counted(self.listing.names.len(), "image"),
                readable(bytes)
            );
            return Err(Error::file(&self.listing.place, problem));
        }
        let mut pixels = Vec::with_capacity(bytes as usize);
        let summary = self.decode_all(&mut |image| {
            pixels.extend_from_slice(image);
            Ok(())
        })?;
        Ok((pixels.into(), summary))
    }

    /// Decodes all images on all cores, and gives them to `keep` in their order.
    fn decode_all(&self, keep: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Summary> {
        let numbers: Vec<usize> = (0..self.listing.names.len()).collect();
        let ahead = (AHEAD_BYTES / self.target.pixels()).clamp(parallel::threads(), AHEAD.max(parallel::threads()));
        let bar = Bar::new(numbers.len(), "decoding");
        let mut collector = Collector::new(&self.key, self.target);
        for numbers in numbers.chunks(ahead) {
            let images = parallel::map(numbers, &bar, |&number| self.decode(number));
            for (number, image) in numbers.iter().zip(images) {
                match image? {
                    Ok(image) => {
                        keep(&image.bytes)?;
                        collector.add(&image.bytes, image.transparent);
                    }
                    Err(problem) if self.options.skip_damaged => collector.add_damaged(*number, problem),
                    Err(problem) => return Err(damaged_file(self.listing, *number, &problem, 0)),
                }
            }
        }
        Ok(collector.finish())
    }

    /// Decodes one image. A damaged file is a message.
    ///
    /// # Errors
    /// A file that has changed since its checksum was taken, or can no longer be read.
    fn decode(&self, number: usize) -> Result<Decoding<Decoded>> {
        let Surveyed { sha256, header } = &self.files[number];
        if let Err(problem) = header {
            return Ok(Err(problem.clone()));
        }
        let path = self.listing.path(&self.listing.names[number]);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        if sum(&[&bytes]) != *sha256 {
            return Err(Error::file(&path, "changed while the folder was read: start again"));
        }
        Ok(decode(&bytes, self.target))
    }
}

/// A number of bytes in words.
fn readable(bytes: u128) -> String {
    match bytes as f64 {
        small if small < 1e6 => format!("{:.1} kB", small * 1e-3),
        middle if middle < 1e9 => format!("{:.1} MB", middle * 1e-6),
        large => format!("{:.1} GB", large * 1e-9),
    }
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
    Error::file(path, format!("{problem}, or add --skip-damaged, which skips such files{more}"))
}

/// Which files were skipped, and why.
fn skipped(listing: &Listing, summary: &Summary) -> Vec<String> {
    let mut notes: Vec<String> = listing
        .skipped
        .iter()
        .map(|(reason, count)| format!("skipped: {} {reason}", counted(*count, "file")))
        .collect();
    if !summary.damaged.is_empty() {
        let names = summary.damaged.iter().map(|(number, problem)| format!("{} {problem}", listing.names[*number]));
        let named: Vec<String> = names.take(NAMED).collect();
        let more = summary.damaged.len() - named.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let count = counted(summary.damaged.len(), "damaged file");
        notes.push(format!("skipped: {count}: {}{more}", named.join("; ")));
    }
    notes
}
