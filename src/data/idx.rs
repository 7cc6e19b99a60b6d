//! IDX, the format of MNIST and its relatives (Fashion-MNIST, Kuzushiji-MNIST, EMNIST), plain or
//! gzip.
//!
//! A file is: two zero bytes, the element type (8: unsigned byte), the number of dimensions, each
//! dimension as a big-endian u32, then the elements, row-major. Images are
//! `[count, height, width]`, labels `[count]`. Described at <http://yann.lecun.com/exdb/mnist/>.

use super::dataset::{Dataset, Split, Statistics};
use super::format::Format;
use super::known::{self, KnownFile, KnownSet};
use super::source::SourceFile;
use crate::error::Result;
use std::path::Path;

pub(super) const FORMAT: Format = Format { names, load };

const UNSIGNED_BYTE: u8 = 0x08;
/// Bytes of a header with three dimensions, the longest that is accepted.
const LONGEST_HEADER: usize = 4 + 3 * 4;

/// The expected content of a file; the value is its number of dimensions.
#[derive(Clone, Copy)]
enum FileKind {
    Images = 3,
    Labels = 1,
}

impl FileKind {
    fn word(self) -> &'static str {
        match self {
            FileKind::Images => "images",
            FileKind::Labels => "labels",
        }
    }
}

/// Both spellings in use, such as `train-images-idx3-ubyte` (the original site's) and
/// `train-images.idx3-ubyte`, plain and compressed.
fn names_of(kind: FileKind, split: Split) -> Vec<String> {
    let part = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let stem = |dot: &str| format!("{part}-{}{dot}idx{}-ubyte", kind.word(), kind as u8);
    [stem("-"), stem(".")].into_iter().flat_map(|name| [format!("{name}.gz"), name]).collect()
}

fn names(split: Split) -> Vec<String> {
    [names_of(FileKind::Images, split), names_of(FileKind::Labels, split)].concat()
}

fn load(folder: &Path, split: Split) -> Result<Dataset> {
    let mut image_source = SourceFile::find(folder, &names_of(FileKind::Images, split))?;
    let mut label_source = SourceFile::find(folder, &names_of(FileKind::Labels, split))?;
    let (shape, mut images) = read(&mut image_source, FileKind::Images)?;
    let (label_shape, mut labels) = read(&mut label_source, FileKind::Labels)?;
    let [count, height, width] = shape[..] else { unreachable!("read returns as many dimensions as the kind has") };
    if label_shape[0] != count {
        return Err(label_source.problem(format!(
            "holds {} labels, but {} holds {count} images: the two files do not belong to one data set",
            label_shape[0],
            image_source.path.display()
        )));
    }

    let files = vec![image_source.describe(&images), label_source.describe(&labels)];
    let [of_images, of_labels] = [&files[0], &files[1]].map(|file| known::find(&file.sha256));
    let set = common_set(of_images, of_labels).map_err(|problem| label_source.problem(problem))?;

    images.drain(..header_length(FileKind::Images));
    labels.drain(..header_length(FileKind::Labels));
    let class_names: Vec<String> = match set {
        Some(set) => set.classes.iter().map(ToString::to_string).collect(),
        None => (0..=labels.iter().copied().max().unwrap_or(0)).map(|class| class.to_string()).collect(),
    };
    Ok(Dataset {
        name: set.map_or("idx", |set| set.name).to_string(),
        statistics: Statistics::new(&images),
        images,
        labels: labels.into_iter().map(u32::from).collect(),
        count,
        channels: 1,
        height,
        width,
        classes: class_names.len(),
        class_names,
        // Mirrored digits and letters are not valid, and mirrored clothes look different.
        mirrors: false,
        files,
    })
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

fn header_length(kind: FileKind) -> usize {
    4 + 4 * kind as usize
}

/// The dimensions, which are positive, and the whole content with its header, which has exactly the
/// length that the dimensions promise.
fn read(source: &mut SourceFile, kind: FileKind) -> Result<(Vec<usize>, Vec<u8>)> {
    let header = source.first(LONGEST_HEADER)?;
    check_magic(&header, kind).map_err(|problem| source.problem(problem))?;
    let length = header_length(kind);
    if header.len() < length {
        return Err(source.problem(format!("is truncated: {} bytes do not hold the header of {length}", header.len())));
    }
    let (words, _) = header[4..length].as_chunks::<4>();
    let shape: Vec<usize> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
    let dimensions = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    if shape[0] == 0 {
        return Err(source.problem(format!("is an empty set: its header promises 0 {}", kind.word())));
    }
    if shape.contains(&0) {
        return Err(source.problem(format!("its header promises {dimensions} bytes: an image has at least one pixel")));
    }
    // The product of three u32 can overflow 64 bits. Reads one byte more than promised, to detect a
    // longer file.
    let total = shape.iter().try_fold(1usize, |product, &dimension| product.checked_mul(dimension));
    let Some(limit) = total.and_then(|total| total.checked_add(length + 1)) else {
        return Err(
            source.problem(format!("its header promises {dimensions} bytes, more than any file: it is damaged"))
        );
    };
    let content = source.take(limit)?;
    let (got, wanted) = (content.len() - length, limit - length - 1);
    if got < wanted {
        return Err(source.problem(format!("is truncated: {got} bytes of the {dimensions} that its header promises")));
    }
    if got > wanted {
        return Err(source.problem(format!("is oversized: it goes on after the {dimensions} bytes of its header")));
    }
    Ok((shape, content))
}

/// Describes the file if it is not of the expected kind.
fn check_magic(header: &[u8], kind: FileKind) -> std::result::Result<(), String> {
    let expected = format!("IDX {} (a file that starts 00 00 08 0{})", kind.word(), kind as u8);
    let instead = match *header {
        [] => "the file is empty".to_string(),
        [0, 0, UNSIGNED_BYTE, dimensions, ..] if dimensions == kind as u8 => return Ok(()),
        [0, 0, UNSIGNED_BYTE, 1, ..] => "this is an IDX file of labels".to_string(),
        [0, 0, UNSIGNED_BYTE, 3, ..] => "this is an IDX file of images".to_string(),
        [0, 0, UNSIGNED_BYTE, n, ..] => format!("this is an IDX file of {n} dimensions"),
        [0, 0, element @ (0x09 | 0x0b..=0x0e), ..] => {
            format!("this is an IDX file of element type {element:#04x}, not of unsigned bytes (0x08)")
        }
        [b'<', ..] => "this looks like a web page: download it again".to_string(),
        [b'P', b'K', ..] => "this is a zip archive: unpack it first".to_string(),
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
