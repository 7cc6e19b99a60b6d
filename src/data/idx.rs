//! IDX, the format of MNIST and its relatives (Fashion-MNIST, Kuzushiji-MNIST, EMNIST, QMNIST),
//! plain or gzip.
//!
//! A file is: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
//! dimension as a big-endian u32, then the elements, row-major and big-endian. Images are
//! `[count, height, width]`, labels `[count]`, or `[count, 8]` with the class in the first column.
//! Described at <http://yann.lecun.com/exdb/mnist/>.

mod file_set;

use super::dataset::{Dataset, Split, Statistics};
use super::format::Format;
use super::known::{self, KnownFile, KnownSet};
use super::load_options::LoadOptions;
use super::source::SourceFile;
use crate::error::Result;
use byteorder::{BigEndian, ByteOrder, ReadBytesExt};
use file_set::FileSet;
use std::collections::BTreeSet;
use std::path::Path;

pub(super) const FORMAT: Format = Format { names, has_sizes: false, holds, load };

const UNSIGNED_BYTE: u8 = 0x08;
/// Bytes of a header with three dimensions, the longest that is accepted.
const LONGEST_HEADER: usize = 4 + 3 * 4;

/// The expected content of a file.
#[derive(Clone, Copy, PartialEq)]
enum FileKind {
    Images,
    Labels,
}

impl FileKind {
    fn word(self) -> &'static str {
        match self {
            FileKind::Images => "images",
            FileKind::Labels => "labels",
        }
    }
}

fn names(split: Split) -> Vec<String> {
    file_set::usual_names(split)
}

fn holds(folder: &Path) -> Result<bool> {
    Ok(file_set::names_set(folder))
}

fn load(path: &Path, split: Split, _options: &LoadOptions) -> Result<Dataset> {
    let (folder, set) = file_set::find(path)?;
    let mut image_source = SourceFile::find(&folder, &set.images(split))?;
    let (header, mut images) = read(&mut image_source, FileKind::Images)?;
    let [count, height, width] = header.shape[..] else { unreachable!("read returns three dimensions of images") };
    let (label_source, labels, label_bytes) = read_labels(&folder, set, split)?;
    if labels.len() != count {
        return Err(label_source.problem(format!(
            "holds {} labels, but {} holds {count} images: the two files do not belong to one data set",
            labels.len(),
            image_source.path.display()
        )));
    }

    let files = vec![image_source.describe(&images), label_source.describe(&label_bytes)];
    let [of_images, of_labels] = [&files[0], &files[1]].map(|file| known::find(&file.sha256));
    let known = common_set(of_images, of_labels).map_err(|problem| label_source.problem(problem))?;
    let training = if split == Split::Test { training_labels(&folder, set)? } else { None };
    let classes = match &training {
        Some((labels, published)) => Classes::new(set, labels, *published),
        None => Classes::new(set, &labels, of_labels),
    };
    let labels: Vec<u32> = labels
        .into_iter()
        .map(|label| {
            let unknown = || label_source.problem(format!("has the label {label}, which no training image has"));
            classes.number(label).ok_or_else(unknown)
        })
        .collect::<Result<_>>()?;

    images.drain(..header.length);
    let (height, width) = if set.transposed {
        images = images.chunks_exact(height * width).flat_map(|image| transposed(image, width)).collect();
        (width, height)
    } else {
        (height, width)
    };
    Ok(Dataset {
        name: known.map_or(set.name, |known| known.name).to_string(),
        statistics: Statistics::new(&images),
        images: images.into(),
        labels,
        count,
        channels: 1,
        height,
        width,
        classes: classes.names.len(),
        class_names: classes.names,
        // Mirrored digits and letters are not valid, and mirrored clothes look different.
        mirrors: false,
        files,
        notes: notes_of_copies(&folder, [set.images(split), set.labels(split)]),
    })
}

/// The columns of an image of rows of `width` pixels.
fn transposed(image: &[u8], width: usize) -> impl Iterator<Item = u8> {
    (0..width).flat_map(move |column| image.iter().skip(column).step_by(width).copied())
}

/// The classes of a data set.
struct Classes {
    /// The label of each class, in rising order.
    labels: Vec<i32>,
    /// The name of each class.
    names: Vec<String>,
}

impl Classes {
    /// The classes of a published file, or the labels that occur.
    fn new(set: &FileSet, labels: &[i32], published: Option<&KnownFile>) -> Classes {
        if let Some(file) = published {
            let names = file.set.classes.iter().map(ToString::to_string);
            return Classes { labels: (0..).take(names.len()).collect(), names: names.collect() };
        }
        let labels: Vec<i32> = labels.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        Classes { names: labels.iter().map(|&label| set.class_name(label)).collect(), labels }
    }

    /// The number of the class with this label.
    fn number(&self, label: i32) -> Option<u32> {
        self.labels.binary_search(&label).ok().map(|number| number as u32)
    }
}

/// The training labels of a folder, and which published file they are. `None` if there are none.
fn training_labels(folder: &Path, set: &FileSet) -> Result<Option<(Vec<i32>, Option<&'static KnownFile>)>> {
    if !set.labels(Split::Train).iter().any(|name| folder.join(name).is_file()) {
        return Ok(None);
    }
    let (source, labels, content) = read_labels(folder, set, Split::Train)?;
    Ok(Some((labels, known::find(&source.describe(&content).sha256))))
}

/// Notes about files that are there twice, with two names.
fn notes_of_copies(folder: &Path, names: [Vec<String>; 2]) -> Vec<String> {
    let note = |names: &Vec<String>| {
        let found: Vec<&String> = names.iter().filter(|name| folder.join(name).is_file()).collect();
        let (first, others) = found.split_first()?;
        let others: Vec<&str> = others.iter().map(|name| name.as_str()).collect();
        (!others.is_empty()).then(|| format!("{first} is read, and {} is not: remove one", others.join(" and ")))
    };
    names.iter().filter_map(note).collect()
}

/// The data set that both files belong to. Counts alone do not detect a mix-up: MNIST has as many
/// labels as Fashion-MNIST has images.
fn common_set(
    images: Option<&'static KnownFile>,
    labels: Option<&'static KnownFile>,
) -> std::result::Result<Option<&'static KnownSet>, String> {
    match (images, labels) {
        (Some(images), Some(labels)) if images.set.name != labels.set.name || images.split != labels.split => {
            Err(format!("these are the {}, but the images in this folder are the {}", labels.what, images.what))
        }
        (Some(images), Some(_)) => Ok(Some(images.set)),
        _ => Ok(None),
    }
}

/// What the header of a file says.
struct Header {
    /// Bytes of the header.
    length: usize,
    element: u8,
    shape: Vec<usize>,
}

/// The labels of a split, and the whole content of their file.
fn read_labels(folder: &Path, set: &FileSet, split: Split) -> Result<(SourceFile, Vec<i32>, Vec<u8>)> {
    let mut source = SourceFile::find(folder, &set.labels(split))?;
    let (header, content) = read(&mut source, FileKind::Labels)?;
    let columns: usize = header.shape[1..].iter().product();
    let bytes = element_size(header.element).unwrap_or(1);
    let label = |element: &[u8]| match header.element {
        UNSIGNED_BYTE => i32::from(element[0]),
        _ => BigEndian::read_int(element, bytes) as i32,
    };
    let labels = content[header.length..].chunks_exact(bytes * columns).map(|row| label(&row[..bytes])).collect();
    Ok((source, labels, content))
}

/// Bytes of an element of a type of integers; `None` for other types.
fn element_size(element: u8) -> Option<usize> {
    match element {
        0x08 | 0x09 => Some(1),
        0x0b => Some(2),
        0x0c => Some(4),
        _ => None,
    }
}

/// The header, whose dimensions are positive, and the whole content with its header, which has
/// exactly the length that the dimensions promise.
fn read(source: &mut SourceFile, kind: FileKind) -> Result<(Header, Vec<u8>)> {
    let start = source.first(LONGEST_HEADER)?;
    let (element, dimensions) = check_magic(&start, kind).map_err(|problem| source.problem(problem))?;
    let length = 4 + 4 * dimensions;
    if start.len() < length {
        return Err(source.problem(format!("is truncated: {} bytes do not hold the header of {length}", start.len())));
    }
    let mut words = &start[4..length];
    let shape: Vec<usize> =
        std::iter::from_fn(|| words.read_u32::<BigEndian>().ok()).map(|dimension| dimension as usize).collect();
    let dimensions = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    if shape[0] == 0 {
        return Err(source.problem(format!("is an empty set: its header promises 0 {}", kind.word())));
    }
    if shape.contains(&0) {
        return Err(source.problem(format!("its header promises {dimensions} bytes: an image has at least one pixel")));
    }
    // The product of three u32 can overflow 64 bits. Reads one byte more than promised, to detect a
    // longer file.
    let bytes = element_size(element).unwrap_or(1);
    let total = shape.iter().try_fold(bytes, |product, &dimension| product.checked_mul(dimension));
    let Some(limit) = total.and_then(|total| total.checked_add(length + 1)) else {
        return Err(
            source.problem(format!("its header promises {dimensions} bytes, more than any file: it is damaged"))
        );
    };
    let content = source.take(limit)?;
    let (got, wanted) = (content.len() - length, limit - length - 1);
    if got < wanted {
        let each = if bytes > 1 { format!(" times {bytes}") } else { String::new() };
        return Err(
            source.problem(format!("is truncated: {got} bytes of the {dimensions}{each} that its header promises"))
        );
    }
    if got > wanted {
        return Err(source.problem(format!("is oversized: it goes on after the {dimensions} bytes of its header")));
    }
    Ok((Header { length, element, shape }, content))
}

/// The element type and the number of dimensions, or a description of the file if it is not of the
/// expected kind.
fn check_magic(header: &[u8], kind: FileKind) -> std::result::Result<(u8, usize), String> {
    let expected = match kind {
        FileKind::Images => "IDX images (a file that starts 00 00 08 03)",
        FileKind::Labels => "IDX labels (a file of integers that starts 00 00 08 01, or 09, 0b or 0c for 08)",
    };
    let instead = match *header {
        [] => "the file is empty".to_string(),
        [0, 0, UNSIGNED_BYTE, 3, ..] if kind == FileKind::Images => return Ok((UNSIGNED_BYTE, 3)),
        [0, 0, element, dimensions @ (1 | 2), ..] if kind == FileKind::Labels && element_size(element).is_some() => {
            return Ok((element, usize::from(dimensions)));
        }
        [0, 0, UNSIGNED_BYTE, 1, ..] => "this is an IDX file of labels".to_string(),
        [0, 0, UNSIGNED_BYTE, 3, ..] => "this is an IDX file of images".to_string(),
        [0, 0, UNSIGNED_BYTE, n, ..] => format!("this is an IDX file of {n} dimensions"),
        [0, 0, element @ (0x09 | 0x0b..=0x0e), ..] => {
            format!("this is an IDX file of element type {element:#04x}")
        }
        [b'<', ..] => "this looks like a web page: download it again".to_string(),
        [b'P', b'K', ..] => "this is a zip archive: unpack it first".to_string(),
        [0xfd, b'7', b'z', ..] => "this is compressed with xz: unpack it first (`xz -d`)".to_string(),
        _ => {
            let start: Vec<String> = header.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            format!("this is not an IDX file: it starts {}", start.join(" "))
        }
    };
    Err(format!("should hold {expected}, but {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idx_refuses_labels_of_another_known_data_set() {
        let mnist_images = known::find("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db");
        let mnist_labels = known::find("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5");
        let mnist_test_labels = known::find("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2");
        let fashion_labels = known::find("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9");
        let name = |labels| common_set(mnist_images, labels).map(|set| set.map(|set| set.name));
        assert_eq!(name(mnist_labels), Ok(Some("MNIST")));
        assert_eq!(name(None), Ok(None));
        let words =
            "these are the Fashion-MNIST training labels, but the images in this folder are the MNIST training images";
        assert_eq!(name(fashion_labels), Err(words.to_string()));
        assert!(name(mnist_test_labels).is_err());
    }
}
