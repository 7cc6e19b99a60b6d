//! CIFAR-10 and downsampled ImageNet: small files of each kind, and the message for every kind of
//! damage.

use degrain::data::{Dataset, Split, load};
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::{Cursor, Write};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const TRAIN: &str = "train_data_batch_1.npz";

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read(files: &[(&str, &[u8])], split: Split) -> Dataset {
    load(folder(files).path(), split).unwrap()
}

/// The message for a folder with these files names the file at fault, and says all the parts.
#[track_caller]
fn refused(files: &[(&str, &[u8])], at_fault: &str, parts: &[&str]) {
    let folder = folder(files);
    let message = load(folder.path(), Split::Train).expect_err("must be refused").to_string();
    let path = if at_fault.is_empty() { folder.path().to_path_buf() } else { folder.path().join(at_fault) };
    assert!(message.starts_with(&format!("{}: ", path.display())), "{message:?} does not name {path:?}");
    parts.iter().for_each(|part| assert!(message.contains(part), "{message:?} does not say {part:?}"));
}

/// A byte that depends on the image, the position and the color plane.
fn pixel(image: usize, place: usize) -> u8 {
    (image * 31 + place * 7 + place / 1024 * 50) as u8
}

/// Records of CIFAR-10 with these labels; the first is image number `first`.
fn records(first: usize, labels: &[u8]) -> Vec<u8> {
    let record = |(image, &label): (usize, &u8)| [vec![label], (0..3072).map(|i| pixel(image, i)).collect()].concat();
    (first..).zip(labels).flat_map(record).collect()
}

#[test]
fn cifar_reads_batches_in_order() {
    let batches = [records(0, &[3, 9]), gzip(&records(2, &[0])), records(3, &[1, 1, 7])];
    let files: [(&str, &[u8]); 4] = [
        ("data_batch_5.bin", &batches[2]),
        ("data_batch_1.first2.bin", &batches[0]),
        ("data_batch_2.bin.gz", &batches[1]),
        ("test_batch.first1.bin", &records(9, &[4])),
    ];
    let train = read(&files, Split::Train);
    assert_eq!(train.name, "CIFAR-10");
    assert_eq!((train.count, train.channels, train.height, train.width), (6, 3, 32, 32));
    assert_eq!(train.labels, [3, 9, 0, 1, 1, 7]);
    let expected: Vec<u8> = (0..6).flat_map(|image| (0..3072).map(move |i| pixel(image, i))).collect();
    assert!(train.images == expected);
    assert!(train.mirrors);
    assert_eq!((train.classes, &train.class_names[9][..]), (10, "truck"));
    let names: Vec<_> = train.files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["data_batch_1.first2.bin", "data_batch_2.bin.gz", "data_batch_5.bin"]);

    let test = read(&files, Split::Test);
    assert_eq!((test.count, &test.labels[..], test.image(0)[5]), (1, &[4][..], pixel(9, 5)));
    // A checksum is of the content and does not depend on the compression.
    let plain = read(&[("data_batch_2.bin", &records(2, &[0]))], Split::Train);
    assert_eq!(plain.files[0].sha256, train.files[1].sha256);
}

#[test]
fn cifar_reads_class_names() {
    let (batch, meta) = (records(0, &[1]), "batches.meta.txt");
    let named = read(&[("data_batch_1.bin", &batch), (meta, b"a\nb\nc d\r\ne\n\nf\ng\nh\ni\nj\nk\n\n")], Split::Train);
    assert_eq!(named.class_names.join("|"), "a|b|c d|e|f|g|h|i|j|k");
    assert_eq!(named.files.len(), 2);
    refused(&[("data_batch_1.bin", &batch), (meta, b"a\nb\n")], meta, &["names 2 classes", "has 10"]);
    refused(&[("data_batch_1.bin", &batch), (meta, &[0xff; 20])], meta, &["not UTF-8"]);
}

#[test]
fn cifar_refuses_damaged_files() {
    let (name, whole) = ("data_batch_1.bin", records(0, &[3, 9, 2]));
    for end in [3073 * 3 - 1, 3073 * 2 + 1] {
        let left = (end - 3073 * 2).to_string();
        for bytes in [whole[..end].to_vec(), gzip(&whole[..end])] {
            refused(
                &[(name, &bytes)],
                name,
                &["truncated", "2 whole records", &format!("{left} bytes are left"), "3073"],
            );
        }
    }
    refused(&[(name, &[])], name, &["empty"]);
    refused(&[(name, &records(0, &[0, 9, 10, 11]))], name, &["record 2 (from 0)", "label 10", "0 to 9"]);
    refused(&[(name, &gzip(&vec![0; 3073 * 10_000 + 1]))], name, &["oversized", "10000 records"]);
    let part = "data_batch_2.first4.bin";
    refused(&[(part, &whole)], part, &["holds 3 records", "its name says 4"]);
    for other in ["data_batch_6.bin", "data_batch_1.old.bin", "data_batch_1.firstx.bin", "data_batch_.bin.gz"] {
        refused(&[(name, &whole), (other, &whole)], other, &["not a batch of CIFAR-10", "rename or remove"]);
    }
    let part = "data_batch_1.first3.bin";
    refused(&[(name, &whole), (part, &whole)], part, &["same batch", name, "remove one"]);
    refused(&[("test_batch.bin", &whole)], "", &["missing", "data_batch_*.bin"]);
}

/// An array as numpy writes it.
fn npy(element: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    raw_npy([1, 0], &format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}"), bytes)
}

fn raw_npy(version: [u8; 2], header: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{header:<117}\n");
    let length = (header.len() as u32).to_le_bytes();
    let length = if version[0] == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", &version[..], length, header.as_bytes(), bytes].concat()
}

fn npz(method: CompressionMethod, arrays: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn stored(arrays: &[(&str, &[u8])]) -> Vec<u8> {
    npz(CompressionMethod::Stored, arrays)
}

/// `count` images of 2 x 2 from number `first` on.
fn data(first: usize, count: usize) -> Vec<u8> {
    let bytes: Vec<u8> = (first..first + count).flat_map(|image| (0..12).map(move |i| pixel(image, i))).collect();
    npy("|u1", &format!("({count}, 12)"), &bytes)
}

fn labels(labels: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    npy("<i8", &format!("({},)", labels.len()), &bytes)
}

#[test]
fn imagenet_reads_batches_in_order() {
    let mean = npy("<f8", "(12,)", &[0; 96]);
    let short = [7u16, 1000].iter().flat_map(|label| label.to_be_bytes()).collect::<Vec<u8>>();
    let version_2 = raw_npy([2, 0], "{'descr': '>u2', 'fortran_order': False, 'shape': (2,)}", &short);
    let files: [(&str, &[u8]); 4] = [
        ("train_data_batch_10.npz", &stored(&[("labels", &labels(&[5])), ("data", &data(4, 1))])),
        (TRAIN, &stored(&[("data", &data(0, 2)), ("labels", &labels(&[1, 1000])), ("mean", &mean)])),
        ("train_data_batch_9.npz", &npz(CompressionMethod::Deflated, &[("data", &data(2, 2)), ("labels", &version_2)])),
        ("val_data.npz", &stored(&[("data", &data(8, 1)), ("labels", &npy("|u1", "(1,)", &[200]))])),
    ];
    let train = read(&files, Split::Train);
    assert_eq!(train.name, "ImageNet 2x2");
    assert_eq!((train.count, train.channels, train.height, train.width), (5, 3, 2, 2));
    assert_eq!(train.labels, [0, 999, 6, 999, 4]);
    let expected: Vec<u8> = (0..5).flat_map(|image| (0..12).map(move |i| pixel(image, i))).collect();
    assert_eq!(train.images, expected);
    assert_eq!((train.classes, train.class_names.len(), &train.class_names[999][..]), (1000, 1000, "999"));
    assert!(train.mirrors && train.files.len() == 3);
    let test = read(&files, Split::Test);
    assert_eq!((test.count, &test.labels[..], test.image(0)[3]), (1, &[199][..], pixel(8, 3)));
    // The checksum depends on the arrays, labels included, and not on the compression.
    let sum = |arrays: Vec<u8>| read(&[(TRAIN, &arrays)], Split::Train).files.remove(0).sha256;
    let arrays: [(&str, &[u8]); 2] = [("data", &data(0, 1)), ("labels", &labels(&[1]))];
    assert_eq!(sum(stored(&arrays)), sum(npz(CompressionMethod::Deflated, &arrays)));
    assert_ne!(sum(stored(&arrays)), sum(stored(&[arrays[0], ("labels", &labels(&[2]))])));
}

#[test]
fn imagenet_refuses_arrays_of_the_wrong_shape_or_type() {
    let (data_2, labels_2) = (data(0, 2), labels(&[1, 2]));
    let of = |data: &[u8], labels: &[u8], parts: &[&str]| {
        refused(&[(TRAIN, &stored(&[("data", data), ("labels", labels)]))], TRAIN, parts);
    };
    refused(&[(TRAIN, &stored(&[("labels", &labels_2)]))], TRAIN, &["no array `data`", "labels.npy"]);
    refused(&[(TRAIN, &stored(&[("data", &data_2)]))], TRAIN, &["no array `labels`", "data.npy"]);
    refused(&[(TRAIN, &stored(&[]))], TRAIN, &["no array `data`", "nothing"]);
    of(&npy("<f4", "(1, 12)", &[0; 48]), &labels_2, &["`data`", "`<f4`", "|u1"]);
    of(&data_2, &npy("<f8", "(2,)", &[0; 16]), &["`labels`", "`<f8`", "not integers"]);
    of(&data_2, &labels(&[1, 2, 3]), &["`labels`", "[3]", "2 images"]);
    of(&data_2, &npy("|u1", "(2, 1)", &[1, 1]), &["`labels`", "[2, 1]", "2 images"]);
    of(&data_2, &labels(&[1, 0]), &["`labels`", "label 0 at index 1 (from 0)", "1 to 1000"]);
    of(&data_2, &labels(&[1001, 1]), &["label 1001 at index 0"]);
    of(&data_2, &labels(&[1, -3]), &["label -3 at index 1"]);
    of(&npy("|u1", "(24,)", &[0; 24]), &labels_2, &["`data`", "[24]", "images, 3 x side x side"]);
    of(&npy("|u1", "(2, 15)", &[0; 30]), &labels_2, &["`data`", "15 bytes", "three planes"]);
    of(&npy("|u1", "(2, 13)", &[0; 26]), &labels_2, &["`data`", "13 bytes"]);
    of(&npy("|u1", "(0, 12)", &[]), &labels(&[]), &["`data`", "empty"]);
    let fortran = raw_npy([1, 0], "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 12), }", &[0; 24]);
    of(&fortran, &labels_2, &["`data`", "Fortran", "ascontiguousarray"]);
    let other: [(&str, &[u8]); 2] = [("data", &npy("|u1", "(1, 3)", &[0; 3])), ("labels", &labels(&[1]))];
    let (second, first) = ("train_data_batch_2.npz", stored(&[("data", &data_2), ("labels", &labels_2)]));
    refused(
        &[(TRAIN, &first), (second, &stored(&other))],
        second,
        &["3 bytes", TRAIN, "12", "do not belong to one data set"],
    );
    refused(&[(TRAIN, &first), ("train_data_batch_11.npz", &first)], "train_data_batch_11.npz", &["not a batch"]);
    refused(&[("val_data.npz", &first)], "", &["missing", "train_data_batch_*.npz"]);
}

#[test]
fn imagenet_refuses_sizes_that_an_archive_cannot_hold() {
    let array = npy("|u1", "(80000000, 48)", &[7; 48]);
    let mut archive = npz(CompressionMethod::Deflated, &[("data", &array), ("labels", &labels(&[1]))]);
    // The archive's sizes agree with the shape: those of the first entry and of its directory.
    let promised = (80_000_000u64 * 48 + array.len() as u64 - 48) as u32;
    let directory = archive.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    for at in [22, directory + 24] {
        archive[at..at + 4].copy_from_slice(&promised.to_le_bytes());
    }
    refused(&[(TRAIN, &archive)], TRAIN, &["`data`", "3840000000 bytes", "compressed ones can hold"]);
}

#[test]
fn imagenet_refuses_damaged_files() {
    let (data_2, labels_2) = (data(0, 2), labels(&[1, 2]));
    let of = |data: &[u8], parts: &[&str]| {
        refused(&[(TRAIN, &stored(&[("data", data), ("labels", &labels_2)]))], TRAIN, parts);
    };
    of(&data_2[..data_2.len() - 1], &["`data`", "truncated", "23 bytes of the 24"]);
    of(&[&data_2[..], &[0]].concat(), &["`data`", "oversized", "25 bytes", "24"]);
    of(&data_2[..9], &["`data`", "ends early"]);
    of(&data_2[..50], &["`data`", "ends early"]);
    of(b"pickled or something", &["`data`", "not a .npy file"]);
    of(&raw_npy([3, 0], "{}", &[]), &["version 3.0"]);
    of(&raw_npy([1, 0], "{'descr': '|u1'}", &[]), &["header that is not understood", "{'descr': '|u1'}"]);
    of(&[b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..]].concat(), &["header of 4294967295 bytes"]);
    let huge = format!("({}, 12)", u64::MAX / 8);
    of(&npy("|u1", &huge, &[0; 24]), &["more than any file"]);

    let whole = stored(&[("data", &data_2), ("labels", &labels_2)]);
    refused(&[(TRAIN, &whole[..whole.len() / 2])], TRAIN, &["not a readable npz archive", "download it again"]);
    refused(&[(TRAIN, b"<html>")], TRAIN, &["not a readable npz archive"]);
    // The archive's checksum detects a changed pixel.
    let mut flipped = whole.clone();
    let at = whole.windows(12).position(|bytes| (0..12).all(|i| bytes[i] == pixel(0, i))).unwrap();
    flipped[at] ^= 1;
    refused(&[(TRAIN, &flipped)], TRAIN, &["`data`", "damaged", "download it again"]);
}
