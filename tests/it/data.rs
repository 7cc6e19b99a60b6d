//! IDX files: the real MNIST, small files of each kind, and the message for every kind of damage.

use degrain::data::{Dataset, Split, load};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|n| file.extend(n.to_be_bytes()));
    file.extend(elements);
    file
}

/// Five images of 2 x 3 whose bytes count up from 0, and their labels.
fn images() -> Vec<u8> {
    idx(&[5, 2, 3], &(0..30).collect::<Vec<u8>>())
}

fn labels() -> Vec<u8> {
    idx(&[5], &[0, 1, 2, 3, 1])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

/// The message for a folder with these two files; it must name the file at fault.
fn message(images: (&str, &[u8]), labels: (&str, &[u8]), at_fault: &str) -> String {
    let folder = folder(&[images, labels]);
    let message = load(folder.path(), Split::Train).expect_err("must be refused").to_string();
    let path = folder.path().join(at_fault).display().to_string();
    assert!(message.starts_with(&path), "{message:?} does not name {path}");
    message
}

fn images_message(images: &[u8]) -> String {
    message((IMAGES, images), (LABELS, &labels()), IMAGES)
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(message.contains(part), "{message:?} does not say {part:?}"));
}

fn check_small(dataset: &Dataset) {
    assert_eq!(dataset.name, "idx");
    assert_eq!((dataset.count, dataset.channels, dataset.height, dataset.width), (5, 1, 2, 3));
    assert_eq!(dataset.images, (0..30).collect::<Vec<u8>>());
    assert_eq!(dataset.image(1), [6, 7, 8, 9, 10, 11]);
    assert_eq!(dataset.labels, [0, 1, 2, 3, 1]);
    assert_eq!((dataset.classes, dataset.class_names.join(" ")), (4, "0 1 2 3".to_string()));
    assert!(dataset.files.iter().all(|file| file.known.is_none()));
    // The bytes are 0..29: mean 14.5, variance (30^2 - 1) / 12.
    assert!((dataset.statistics.mean - (14.5 / 127.5 - 1.0)).abs() < 1e-12);
    assert!((dataset.statistics.std - (899f64 / 12.0).sqrt() / 127.5).abs() < 1e-12);
    assert_eq!((dataset.statistics.min, dataset.statistics.max), (-1.0, 29.0 / 127.5 - 1.0));
}

#[test]
fn idx_reads_all_file_names_and_compressions() {
    let (images, labels) = (images(), labels());
    let mut halves = gzip(&images[..7]);
    halves.extend(gzip(&images[7..]));
    let cases: [(&str, &[u8], &str, &[u8]); 5] = [
        (IMAGES, &images, LABELS, &labels),
        ("train-images.idx3-ubyte", &images, "train-labels.idx1-ubyte", &labels),
        ("train-images-idx3-ubyte.gz", &gzip(&images), "train-labels.idx1-ubyte.gz", &gzip(&labels)),
        // An uncompressed file with the extension .gz, and a compressed file without it.
        ("train-images.idx3-ubyte.gz", &images, LABELS, &gzip(&labels)),
        // Several gzip streams in a row are one file.
        ("train-images-idx3-ubyte.gz", &halves, LABELS, &labels),
    ];
    for (images_name, images, labels_name, labels) in cases {
        let folder = folder(&[(images_name, images), (labels_name, labels)]);
        check_small(&load(folder.path(), Split::Train).unwrap());
    }
    let folder = folder(&[("t10k-images-idx3-ubyte", &images), ("t10k-labels-idx1-ubyte", &labels)]);
    check_small(&load(folder.path(), Split::Test).unwrap());
}

#[test]
fn idx_checksum_is_of_the_decompressed_content() {
    let plain = folder(&[(IMAGES, &images()), (LABELS, &labels())]);
    let packed = folder(&[(IMAGES, &gzip(&images())), (LABELS, &gzip(&labels()))]);
    let sums = |folder: &TempDir| {
        load(folder.path(), Split::Train).unwrap().files.into_iter().map(|file| file.sha256).collect::<Vec<_>>()
    };
    assert_eq!(sums(&plain), sums(&packed));
}

#[test]
fn idx_missing_files_are_named() {
    let empty = folder(&[]);
    let message = load(empty.path(), Split::Train).unwrap_err().to_string();
    let place = empty.path().display().to_string();
    says(&message, &[&place, "no data set", IMAGES, "train-images.idx3-ubyte.gz", LABELS]);

    let half = folder(&[(IMAGES, &images())]);
    let message = load(half.path(), Split::Train).unwrap_err().to_string();
    says(&message, &[&half.path().display().to_string(), "missing", LABELS, "train-labels.idx1-ubyte.gz"]);
    let message = load(half.path(), Split::Test).unwrap_err().to_string();
    says(&message, &["missing", "t10k-images-idx3-ubyte"]);

    let nowhere = empty.path().join("nowhere");
    says(&load(&nowhere, Split::Train).unwrap_err().to_string(), &[&nowhere.display().to_string()]);
}

#[test]
fn idx_names_content_of_another_kind() {
    says(&images_message(&labels()), &["should hold IDX images", "IDX file of labels"]);
    let swapped = message((IMAGES, &images()), (LABELS, &images()), LABELS);
    says(&swapped, &["should hold IDX labels", "IDX file of images"]);
    says(&images_message(&idx(&[1, 1, 2, 3], &[0; 6])), &["4 dimensions"]);
    says(&images_message(&[0, 0, 0x0d, 3, 0, 0, 0, 1]), &["element type 0x0d"]);
    says(&images_message(b"<!DOCTYPE html>"), &["web page", "download it again"]);
    says(&images_message(b"PK\x03\x04 and more"), &["zip archive"]);
    says(&images_message(&[9, 8, 7, 6, 5]), &["not an IDX file", "09 08 07 06"]);
    says(&images_message(&[]), &["empty"]);
    says(&images_message(&gzip(&[])), &["empty"]);
}

#[test]
fn idx_refuses_wrong_lengths() {
    let whole = images();
    for packed in [false, true] {
        let pack = |bytes: &[u8]| if packed { gzip(bytes) } else { bytes.to_vec() };
        says(&images_message(&pack(&whole[..whole.len() - 1])), &["truncated", "29 bytes of the 5 x 2 x 3"]);
        says(&images_message(&pack(&whole[..16])), &["truncated", "0 bytes"]);
        says(&images_message(&pack(&whole[..15])), &["truncated", "header of 16"]);
        says(&images_message(&pack(&[whole.clone(), vec![0]].concat())), &["oversized"]);
        says(&images_message(&pack(&idx(&[0, 2, 3], &[]))), &["empty set"]);
        says(&images_message(&pack(&idx(&[5, 0, 3], &[]))), &["5 x 0 x 3", "at least one pixel"]);
        // A few bytes whose header promises 2^96 or 2^62: no panic, and no allocation of that size.
        says(&images_message(&pack(&idx(&[u32::MAX; 3], &[0; 6]))), &["more than any file"]);
        says(&images_message(&pack(&idx(&[1 << 31, 1 << 31, 1], &[0; 6]))), &["truncated", "6 bytes of"]);
    }
    // A gzip stream with 64 MiB after the 30 bytes that the header promises is refused before it is
    // decompressed.
    let bomb = gzip(&[whole, vec![0; 64 << 20]].concat());
    says(&images_message(&bomb), &["oversized"]);
}

#[test]
fn idx_refuses_damaged_gzip() {
    let packed = gzip(&images());
    // Cut in the header, in the data, and in the checksum at the end.
    for end in [5, packed.len() / 2, packed.len() - 1] {
        says(&images_message(&packed[..end]), &["gzip", "ends early", "download it again"]);
    }
    for garbage in [&b"x"[..], b"some more text after it"] {
        let message = images_message(&[&packed, garbage].concat());
        says(&message, &["follow the end of the gzip stream", &garbage.len().to_string()]);
    }
    let mut wrong_sum = packed.clone();
    let checksum = packed.len() - 8;
    wrong_sum[checksum] ^= 1;
    says(&images_message(&wrong_sum), &["gzip stream is damaged"]);
}

#[test]
fn idx_labels_must_match_the_images() {
    let four = idx(&[4], &[0, 1, 2, 3]);
    let message = message((IMAGES, &images()), (LABELS, &four), LABELS);
    says(&message, &["4 labels", "5 images", IMAGES, "do not belong to one data set"]);
}

#[test]
fn mnist_matches_the_published_files() {
    // The moments were computed with other software from the sum of all bytes, 1567298545, and of
    // their squares, 342590800147.
    let train = load(Path::new("data/mnist"), Split::Train).unwrap();
    let test = load(Path::new("data/mnist"), Split::Test).unwrap();
    let known = |dataset: &Dataset| dataset.files.iter().map(|file| file.known.unwrap()).collect::<Vec<_>>();
    assert_eq!(known(&train), ["MNIST training images", "MNIST training labels"]);
    assert_eq!(known(&test), ["MNIST test images", "MNIST test labels"]);
    assert_eq!(train.files[0].sha256, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db");
    for (dataset, count) in [(&train, 60_000), (&test, 10_000)] {
        assert_eq!(dataset.name, "MNIST");
        assert_eq!((dataset.count, dataset.channels, dataset.height, dataset.width), (count, 1, 28, 28));
        assert_eq!((dataset.images.len(), dataset.labels.len()), (count * 784, count));
        assert_eq!((dataset.classes, dataset.class_names.join("")), (10, "0123456789".to_string()));
        assert_eq!((dataset.statistics.min, dataset.statistics.max), (-1.0, 1.0));
    }
    assert_eq!(&train.labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    let zeros = train.labels.iter().filter(|&&label| label == 0).count();
    assert_eq!(zeros, 5923);
    assert!((train.statistics.mean - -0.7386790474523143).abs() < 1e-12, "{}", train.statistics.mean);
    assert!((train.statistics.std - 0.6162156077129254).abs() < 1e-12, "{}", train.statistics.std);
    // 81 % of the pixels are exactly black.
    let black = train.images.iter().filter(|&&byte| byte == 0).count();
    assert_eq!(black, 38_045_844);
}

/// EMNIST's images lie on their sides in the files, and the labels of its letters begin with 1.
#[test]
fn emnist_is_read_upright_with_its_classes() {
    // Two images of 2 x 3: in the file, columns are stored one after another.
    let pixels = idx(&[2, 3, 2], &[1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
    let (labels, test_labels) = (idx(&[2], &[26, 1]), idx(&[2], &[1, 1]));
    let folder = folder(&[
        ("emnist-letters-train-images-idx3-ubyte", &pixels),
        ("emnist-letters-train-labels-idx1-ubyte", &labels),
        ("emnist-letters-test-images-idx3-ubyte.gz", &gzip(&pixels)),
        ("emnist-letters-test-labels-idx1-ubyte.gz", &gzip(&test_labels)),
    ]);
    let train = load(folder.path(), Split::Train).unwrap();
    assert_eq!((train.name.as_str(), train.shape()), ("EMNIST letters", [1, 2, 3]));
    assert_eq!(train.images, [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]);
    assert_eq!((&train.labels[..], train.class_names.join("")), (&[1, 0][..], "AZ".into()));
    // The classes of the test images are those of the training images.
    let test = load(folder.path(), Split::Test).unwrap();
    assert_eq!((&test.labels[..], test.classes), (&[0, 0][..], 2));

    // The archive of EMNIST holds several sets: one is chosen by its name.
    for kind in ["digits", "balanced"] {
        fs::write(folder.path().join(format!("emnist-{kind}-train-images-idx3-ubyte")), &pixels).unwrap();
        fs::write(folder.path().join(format!("emnist-{kind}-train-labels-idx1-ubyte")), idx(&[2], &[9, 0])).unwrap();
    }
    let message = load(folder.path(), Split::Train).unwrap_err().to_string();
    says(&message, &["several data sets", "emnist-letters", "emnist-digits", "--data"]);
    assert_eq!(load(&folder.path().join("emnist-digits"), Split::Train).unwrap().class_names, ["0", "9"]);
    assert_eq!(load(&folder.path().join("emnist-letters"), Split::Test).unwrap().class_names, ["A", "Z"]);
}

/// The labels of QMNIST are rows of eight integers of 32 bits.
#[test]
fn qmnist_labels_are_the_first_column() {
    let mut labels = vec![0, 0, 0x0c, 2];
    [5u32, 8].iter().for_each(|n| labels.extend(n.to_be_bytes()));
    for class in [3u32, 0, 3, 7, 0] {
        [class, 1, 2, 3, 4, 5, 6, 7].iter().for_each(|n| labels.extend(n.to_be_bytes()));
    }
    let folder =
        folder(&[("qmnist-train-images-idx3-ubyte", &images()), ("qmnist-train-labels-idx2-int.gz", &gzip(&labels))]);
    let data = load(folder.path(), Split::Train).unwrap();
    assert_eq!(
        (data.name.as_str(), &data.labels[..], data.class_names.join(" ")),
        ("QMNIST", &[1, 0, 1, 2, 0][..], "0 3 7".into())
    );
}

/// Labels of any integers become classes in their order, as in labels.csv.
#[test]
fn idx_labels_of_any_integers_are_classes() {
    let classes = |labels: &[u8]| {
        let data = load(folder(&[(IMAGES, &images()), (LABELS, labels)]).path(), Split::Train).unwrap();
        (data.labels, data.class_names.join(" "))
    };
    assert_eq!(classes(&idx(&[5], &[3, 255, 3, 3, 255])), (vec![0, 1, 0, 0, 1], "3 255".into()));
    let header = |element: u8| [vec![0, 0, element, 1], 5u32.to_be_bytes().to_vec()].concat();
    let signed: Vec<u8> = [-1i8, 2, -1, 5, 2].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(classes(&[header(0x09), signed].concat()), (vec![0, 1, 0, 2, 1], "-1 2 5".into()));
    let short: Vec<u8> = [-300i16, 300, 0, 0, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(classes(&[header(0x0b), short].concat()), (vec![0, 3, 1, 1, 2], "-300 0 1 300".into()));
    let long: Vec<u8> = [70_000i32, 1, 1, 1, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
    assert_eq!(classes(&[header(0x0c), long].concat()), (vec![1, 0, 0, 0, 0], "1 70000".into()));
    // A test label that no training image has.
    let folder = folder(&[
        (IMAGES, &images()),
        (LABELS, &labels()),
        ("t10k-images-idx3-ubyte", &images()),
        ("t10k-labels-idx1-ubyte", &idx(&[5], &[0, 1, 9, 0, 0])),
    ]);
    says(&load(folder.path(), Split::Test).unwrap_err().to_string(), &["t10k-labels", "label 9", "no training image"]);
}

/// The classes of published test images are those of the training images, if these are others.
#[test]
fn idx_published_test_images_have_the_classes_of_the_training_images() {
    let mnist = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist");
    let test = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"];
    let published = test.map(|name| fs::read(mnist.join(name)).unwrap());
    let with_training = |labels: &[u8]| {
        let images = idx(&[labels.len() as u32, 28, 28], &vec![7; labels.len() * 784]);
        let labels = idx(&[labels.len() as u32], labels);
        folder(&[(IMAGES, &images), (LABELS, &labels), (test[0], &published[0]), (test[1], &published[1])])
    };
    let message = load(with_training(&[3, 8]).path(), Split::Test).unwrap_err().to_string();
    says(&message, &["t10k-labels", "label 7", "no training image"]);
    let all = with_training(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    let [own, whole] = [all.path(), &mnist].map(|folder| load(folder, Split::Test).unwrap());
    assert_eq!((own.labels, own.class_names), (whole.labels, whole.class_names));
}

#[test]
fn idx_says_which_of_two_copies_is_read() {
    let (images, labels) = (images(), labels());
    let one = folder(&[(IMAGES, &images), (LABELS, &labels)]);
    assert!(load(one.path(), Split::Train).unwrap().notes.is_empty());
    let packed = format!("{LABELS}.gz");
    let two = folder(&[(IMAGES, &images), (LABELS, &labels), (&packed, &gzip(&labels))]);
    let notes = load(two.path(), Split::Train).unwrap().notes;
    assert_eq!(notes.len(), 1);
    says(&notes[0], &[&format!("{packed} is read"), &format!("{LABELS} is not"), "remove one"]);
}
