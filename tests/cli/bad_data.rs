//! Data sets that are damaged, incomplete or unclear: `train` ends with exit code 1 and one message
//! that names the file and the remedy, and leaves no file behind.

use crate::common::pictures::{Pictures, gray, png};
use crate::common::run::idx;
use crate::harness::{TRAIN, command, fails, text};
use flate2::{Compression, write::GzEncoder};
use image::{DynamicImage, ImageFormat, RgbImage};
use png::{BitDepth, ColorType};
use std::io::{Cursor, Write};

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";
const CIFAR: &str = "data_batch_1.bin";
const NPZ: &str = "train_data_batch_1.npz";

/// One kind of bad input.
struct Case {
    what: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    options: &'static [&'static str],
    /// The file that the message names, relative to the folder.
    at_fault: &'static str,
    /// Parts of the message: what is wrong, and what to do.
    parts: &'static [&'static str],
}

fn case(
    what: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    at_fault: &'static str,
    parts: &'static [&'static str],
) -> Case {
    Case { what, files, options: &[], at_fault, parts }
}

impl Case {
    fn with(self, options: &'static [&'static str]) -> Case {
        Case { options, ..self }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A picture of 16 x 16 pixels in some format.
fn picture(format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([(16 * x) as u8, (16 * y) as u8, ((x * y) % 251) as u8]));
    let mut file = Cursor::new(vec![]);
    DynamicImage::from(image).write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// The first part of a file.
fn cut(file: Vec<u8>, numerator: usize, denominator: usize) -> Vec<u8> {
    file[..file.len() * numerator / denominator].to_vec()
}

/// A picture as JPEG, without the marker at its end.
fn jpeg_without_end() -> Vec<u8> {
    let mut file = picture(ImageFormat::Jpeg);
    file.truncate(file.len() - 2);
    file
}

/// A PNG whose header promises another size.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut file = gray([1, 2]);
    let header = [&b"IHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &file[24..29]].concat();
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    file.splice(12..33, [&header[..], &sum.sum().to_be_bytes()].concat());
    file
}

/// Image files that are damaged or something else.
fn damaged_images() -> Vec<Case> {
    let one = |what, bytes, parts| case(what, vec![("a.png", gray([1, 2])), ("b.png", bytes)], "b.png", parts);
    let mut flipped = png(64, 64, ColorType::Grayscale, BitDepth::Eight, &[7; 4096]);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let remedy = &["damaged", "replace or remove", "--skip-damaged"];
    let mut no_palette = gray([1, 2]);
    no_palette[25] = 3;
    let mut sum = flate2::Crc::new();
    sum.update(&no_palette[12..29]);
    no_palette.splice(29..33, sum.sum().to_be_bytes());
    vec![
        one("an empty file", vec![], &["is empty", "replace or remove"]),
        one("a web page", b"<!DOCTYPE html><html>".to_vec(), &["web page", "replace or remove"]),
        one("zeros after a crash", vec![0; 4096], &["only zeros", "replace or remove"]),
        one("text", b"not an image at all".to_vec(), &["is not a PNG, JPEG", "replace or remove"]),
        one("a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), &["git lfs pull"]),
        one("a zip archive", b"PK\x03\x04and more".to_vec(), &["zip archive"]),
        one("a HEIC file with another name", b"\0\0\0\x18ftypheic and more".to_vec(), &["HEIC", "convert it"]),
        one("a PNG cut in its header", gray([1, 2])[..20].to_vec(), remedy),
        one("a PNG cut in its data", cut(picture(ImageFormat::Png), 1, 2), remedy),
        one(
            "a PNG without its end",
            gray([1, 2])[..gray([1, 2]).len() - 12].to_vec(),
            &["truncated", "--skip-damaged"],
        ),
        one("a PNG with a wrong checksum", flipped, remedy),
        one("a PNG without its palette", no_palette, remedy),
        one("a PNG of impossible size", png_of_size(60_000, 60_000), &["more than 1 GiB", "scale it down"]),
        one("a PNG of no size", png_of_size(0, 4), remedy),
        one("a JPEG cut in its header", cut(picture(ImageFormat::Jpeg), 1, 20), remedy),
        one("a JPEG cut in its data", cut(picture(ImageFormat::Jpeg), 9, 10), remedy),
        one("a JPEG without its end", jpeg_without_end(), &["truncated", "--skip-damaged"]),
        one("a WebP that was cut", cut(picture(ImageFormat::WebP), 1, 2), remedy),
        one("a BMP that was cut", cut(picture(ImageFormat::Bmp), 1, 2), remedy),
        one("a GIF with another name", b"GIF89a\x01\0\x01\0\0\0\0".to_vec(), &["convert it"]),
        case("only damaged files", vec![("a.png", vec![]), ("b.png", vec![])], "", &["no image that can be read"])
            .with(&["--skip-damaged"]),
        case(
            "several damaged files",
            vec![("a.png", vec![]), ("b.png", vec![]), ("c.png", gray([1, 2]))],
            "a.png",
            &["1 more of 3 files"],
        ),
    ]
}

/// Folders whose images or classes are not clear.
fn unclear_folders() -> Vec<Case> {
    let a = || ("a.png", gray([1, 2]));
    vec![
        case("an empty folder", vec![], "", &["holds no data set", "*.png", "train-images-idx3-ubyte"]),
        case("no images", vec![("notes.txt", vec![])], "", &["holds no data set", "*.jpg"]),
        case(
            "formats that are not read",
            vec![("a.heic", vec![]), ("b/c.tiff", vec![])],
            "",
            &["no image that can be read", ".heic", ".tiff", "convert to PNG"],
        ),
        case("only test images", vec![("test/a.png", gray([1, 2]))], "", &["a file is missing", "train/*.png"]),
        case(
            "images beside train/",
            vec![a(), ("train/b.png", gray([1, 2]))],
            "",
            &["a.png", "train", "into one of the two", "rename this subfolder"],
        ),
        case(
            "images beside classes",
            vec![a(), ("cat/b.png", gray([1, 2]))],
            "",
            &["a.png", "cat/b.png", "subfolder with the name of its class"],
        ),
        case(
            "two files of labels",
            vec![a(), ("labels.csv", b"a.png,x".to_vec()), ("metadata.csv", b"file_name,label\na.png,x".to_vec())],
            "metadata.csv",
            &["labels.csv", "remove or rename one"],
        ),
        case("a resolution for IDX files", small_idx(), "", &["--resolution", "no effect"])
            .with(&["--resolution", "32"]),
        case("a way to resize IDX files", small_idx(), "", &["--resize", "no effect"]).with(&["--resize", "pad"]),
        case("channels of IDX files", small_idx(), "", &["--channels", "no effect"]).with(&["--channels", "rgb"]),
    ]
}

fn small_idx() -> Vec<(&'static str, Vec<u8>)> {
    vec![(IMAGES, idx(&[8, 28, 28], &[7; 8 * 784])), (LABELS, idx(&[8], &[0, 1, 2, 3, 0, 1, 2, 3]))]
}

/// Files of labels.
fn bad_labels() -> Vec<Case> {
    let csv = |what, csv: &[u8], parts| {
        let files = vec![("a.png", gray([1, 2])), ("b.png", gray([3, 4])), ("labels.csv", csv.to_vec())];
        case(what, files, "labels.csv", parts)
    };
    let json = |what, text: &str, parts| {
        let files = vec![("a.png", gray([1, 2])), ("metadata.jsonl", text.as_bytes().to_vec())];
        case(what, files, "metadata.jsonl", parts)
    };
    vec![
        csv("an empty file of labels", b"", &["names no image", "file,label"]),
        csv("only names of columns", b"file,label\n", &["names no image"]),
        csv("an image without a label", b"a.png,x\n", &["no label for b.png", "add it"]),
        csv("a label without an image", b"a.png,x\nb.png,y\nc.png,y\n", &["line 3", "c.png", "no such image"]),
        csv("unknown columns", b"foo,bar\na.png,x\nb.png,y\n", &["line 1", "foo, bar", "file,label"]),
        csv("three fields without names", b"a.png,x,y\nb.png,y,z\n", &["line 1", "file,label"]),
        csv("a line with too few fields", b"a.png,x\nb.png\n", &["line 2", "1 field,", "quotes"]),
        csv("a comma without quotes", b"a.png,x\nb.png,y, z\n", &["line 2", "3 fields", "quotes"]),
        csv("an empty label", b"a.png,x\nb.png, \n", &["line 2", "empty label", "fill it in"]),
        csv("an empty file name", b"a.png,x\n,y\n", &["line 2", "empty file"]),
        csv("an image twice", b"a.png,x\nb.png,y\na.png,x\n", &["a.png twice", "lines 1 and 3", "remove one"]),
        csv("labels in another encoding", &[b'a', 0xff, b',', b'x'], &["not UTF-8", "save it"]),
        csv("labels in UTF-16", &[0xff, 0xfe, b'a', 0, b',', 0, b'x', 0], &["not UTF-8"]),
        case(
            "a name of several images",
            vec![
                ("x/a.png", gray([1, 2])),
                ("y/a.png", gray([1, 2])),
                ("labels.csv", b"file,label\na.png,x\n".to_vec()),
            ],
            "labels.csv",
            &["line 2", "several images", "subfolder"],
        ),
        json("metadata that is not JSON", "file_name: a.png\n", &["line 1", "not a JSON object"]),
        json("metadata without file names", "{\"label\": 3}\n", &["line 1", "file_name"]),
        json(
            "a label that is a list",
            "{\"file_name\": \"a.png\", \"label\": [1]}\n",
            &["line 1", "[1]", "text or a number"],
        ),
        case(
            "metadata whose first line has no label",
            vec![
                ("a.png", gray([1, 2])),
                ("b.png", gray([3, 4])),
                ("metadata.jsonl", b"{\"file_name\": \"a.png\"}\n{\"file_name\": \"b.png\", \"label\": 1}\n".to_vec()),
            ],
            "metadata.jsonl",
            &["line 2 has a label", "line 1 has none"],
        ),
        json(
            "metadata of another image",
            "{\"file_name\": \"c.png\", \"label\": 1}\n",
            &["line 1", "c.png", "no such image"],
        ),
    ]
}

/// IDX files.
fn bad_idx() -> Vec<Case> {
    let files = |images: Vec<u8>, labels: Vec<u8>| vec![(IMAGES, images), (LABELS, labels)];
    let (images, labels) = (idx(&[8, 28, 28], &[7; 8 * 784]), idx(&[8], &[0, 1, 2, 3, 0, 1, 2, 3]));
    let bad_images = |what, bytes, parts| case(what, files(bytes, idx(&[8], &[0; 8])), IMAGES, parts);
    let mut many = small_idx();
    many.extend([
        ("emnist-letters-train-images-idx3-ubyte", vec![]),
        ("emnist-digits-train-images-idx3-ubyte", vec![]),
    ]);
    vec![
        case("images without labels", vec![(IMAGES, images.clone())], "", &["a file is missing", LABELS]),
        bad_images("IDX cut in its header", images[..9].to_vec(), &["truncated", "header of 16"]),
        bad_images("IDX cut in its data", images[..5000].to_vec(), &["truncated", "8 x 28 x 28"]),
        bad_images("IDX with more data", [&images[..], b"x"].concat(), &["oversized"]),
        bad_images("IDX of no images", idx(&[0, 28, 28], &[]), &["empty set"]),
        bad_images("IDX of impossible size", idx(&[u32::MAX; 3], &[0; 6]), &["more than any file", "damaged"]),
        bad_images("labels instead of images", labels.clone(), &["should hold IDX images", "IDX file of labels"]),
        bad_images("numbers instead of bytes", [&[0, 0, 13, 3][..], &[0; 20]].concat(), &["element type 0x0d"]),
        bad_images("a web page instead of IDX", b"<html>".to_vec(), &["web page", "download it again"]),
        bad_images("IDX compressed with xz", b"\xfd7zXZ\0 and more".to_vec(), &["xz", "unpack it"]),
        bad_images("a gzip file that was cut", gzip(&images)[..40].to_vec(), &["ends early", "download it again"]),
        bad_images(
            "text after a gzip file",
            [gzip(&images), b"x".to_vec()].concat(),
            &["follow the end", "download it again"],
        ),
        case("fewer labels than images", files(images.clone(), idx(&[7], &[0; 7])), LABELS, &["7 labels", "8 images"]),
        case(
            "labels of real numbers",
            files(images, [&[0, 0, 14, 1, 0, 0, 0, 8][..], &[0; 64]].concat()),
            LABELS,
            &["element type 0x0e"],
        ),
        case("several data sets", many, "", &["several data sets", "emnist-letters", "--data"]),
    ]
}

/// CIFAR-10 and downsampled ImageNet.
fn bad_records() -> Vec<Case> {
    let record = |label: u8| [vec![label], vec![7; 3072]].concat();
    vec![
        case(
            "CIFAR-10 cut in a record",
            vec![(CIFAR, record(0)[..3000].to_vec())],
            CIFAR,
            &["truncated", "3000 bytes"],
        ),
        case("CIFAR-10 with an unknown class", vec![(CIFAR, record(10))], CIFAR, &["label 10", "0 to 9"]),
        case("CIFAR-10 without records", vec![(CIFAR, vec![])], CIFAR, &["is empty"]),
        case("CIFAR-10 in pickles", vec![("data_batch_1.bin", b"\x80\x02}q\x01".to_vec())], CIFAR, &["truncated"]),
        case(
            "fewer records than the name says",
            vec![("data_batch_1.first2.bin", record(0))],
            "data_batch_1.first2.bin",
            &["holds 1 record", "its name says 2"],
        ),
        case(
            "a batch with a wrong number",
            vec![("data_batch_7.bin", record(0))],
            "data_batch_7.bin",
            &["rename or remove"],
        ),
        case(
            "an npz that is no archive",
            vec![(NPZ, b"PK and more".to_vec())],
            NPZ,
            &["not a readable npz", "download it again"],
        ),
        case("an npz that is empty", vec![(NPZ, vec![])], NPZ, &["not a readable npz"]),
        case(
            "a batch of ImageNet with a wrong number",
            vec![("train_data_batch_11.npz", vec![])],
            "train_data_batch_11.npz",
            &["rename or remove"],
        ),
    ]
}

#[test]
fn train_refuses_bad_data_with_one_message() {
    let cases: Vec<Case> =
        [damaged_images(), unclear_folders(), bad_labels(), bad_idx(), bad_records()].into_iter().flatten().collect();
    assert!(cases.len() >= 60, "{} kinds", cases.len());
    let failed = |cases: &[Case]| -> Vec<&'static str> {
        let failed = cases.iter().filter(|case| std::panic::catch_unwind(|| check(case)).is_err());
        failed.map(|case| case.what).collect()
    };
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let halves: Vec<_> =
            cases.chunks(cases.len().div_ceil(2)).map(|half| scope.spawn(move || failed(half))).collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "these are not refused as they should be: {failed:?}");
}

fn check(case: &Case) {
    let files: Vec<(&str, &[u8])> = case.files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let data = Pictures::new(&files);
    let here = tempfile::tempdir().unwrap();
    let mut train = command(TRAIN, &["--size", "tiny", "--data", text(data.path())]);
    train.args(case.options).current_dir(here.path()).env("XDG_CACHE_HOME", here.path());
    train.env("MESA_SHADER_CACHE_DISABLE", "true");
    let message = fails(train, 1, case.parts);
    let path = if case.at_fault.is_empty() { data.path().to_path_buf() } else { data.path().join(case.at_fault) };
    assert!(message.contains(text(&path)), "{}: {message:?} does not name {path:?}", case.what);
    assert!(message.len() < 1000, "{}: a long message: {message}", case.what);
    let left: Vec<_> = walkdir::WalkDir::new(here.path())
        .into_iter()
        .map(Result::unwrap)
        .filter(|e| e.file_type().is_file())
        .collect();
    assert!(left.is_empty(), "{}: left behind {left:?}", case.what);
}

/// Sides that are no resolution are refused with the forms that are.
#[test]
fn train_refuses_bad_resolutions() {
    for resolution in ["0", "-3", "64x", "x64", "8193", "1e3", "64x64x3", "big"] {
        fails(command(TRAIN, &[&format!("--resolution={resolution}")]), 2, &["48x64", "auto"]);
    }
}
