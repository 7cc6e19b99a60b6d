//! Folders of PNG files with and without labels, and the message for every kind of damage.

use degrain::data::{Dataset, Split, load};
use png::{BitDepth, ColorType, Encoder};
use std::fs;
use tempfile::TempDir;

const CSV: &str = "labels.csv";

/// A PNG file of `width` x `height` pixels, whose rows are these bytes.
fn png(width: u32, height: u32, color: ColorType, depth: BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
    file
}

/// A grayscale PNG file, 2 pixels wide and 1 high.
fn gray(bytes: [u8; 2]) -> Vec<u8> {
    png(2, 1, ColorType::Grayscale, BitDepth::Eight, &bytes)
}

fn rgb(bytes: [u8; 6]) -> Vec<u8> {
    png(2, 1, ColorType::Rgb, BitDepth::Eight, &bytes)
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn read(files: &[(&str, &[u8])], split: Split) -> Dataset {
    load(folder(files).path(), split).unwrap()
}

#[track_caller]
fn refused_in(split: Split, files: &[(&str, &[u8])], at_fault: &str, parts: &[&str]) {
    let folder = folder(files);
    let message = load(folder.path(), split).expect_err("must be refused").to_string();
    let path = if at_fault.is_empty() { folder.path().to_path_buf() } else { folder.path().join(at_fault) };
    assert!(message.starts_with(&format!("{}: ", path.display())), "{message:?} does not name {path:?}");
    parts.iter().for_each(|part| assert!(message.contains(part), "{message:?} does not say {part:?}"));
}

/// The message for training on these files names the file at fault, and says all the parts.
#[track_caller]
fn refused(files: &[(&str, &[u8])], at_fault: &str, parts: &[&str]) {
    refused_in(Split::Train, files, at_fault, parts);
}

/// Two images and a file of labels.
#[track_caller]
fn csv_refused(csv: &[u8], parts: &[&str]) {
    refused(&[("a.png", &gray([1, 2])), ("b.png", &gray([3, 4])), (CSV, csv)], CSV, parts);
}

#[test]
fn folder_sorts_grayscale_images_by_name() {
    let images = read(
        &[
            ("img9.png", &gray([7, 8])),
            ("img10.png", &gray([1, 2])),
            ("img2.PNG", &gray([3, 4])),
            (".hidden.png", b"of some system"),
            ("README.txt", b"not an image"),
        ],
        Split::Train,
    );
    assert_eq!(images.name, "images");
    assert_eq!((images.count, images.channels, images.height, images.width), (3, 1, 1, 2));
    assert_eq!(images.images, [1, 2, 3, 4, 7, 8]);
    // One class, so that models with and without labels can train on it.
    assert_eq!((&images.labels[..], images.classes, images.class_names.join("")), (&[0; 3][..], 1, "image".into()));
    assert!(!images.mirrors);
    assert_eq!(images.files.len(), 1);
}

#[test]
fn folder_splits_color_images_into_planes() {
    let images = read(&[("a.png", &rgb([1, 2, 3, 4, 5, 6])), ("b.png", &rgb([11, 12, 13, 14, 15, 16]))], Split::Train);
    assert_eq!((images.channels, images.height, images.width), (3, 1, 2));
    assert_eq!(images.images, [1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
    let renamed = read(&[("a.png", &rgb([1, 2, 3, 4, 5, 6])), ("c.png", &rgb([11, 12, 13, 14, 15, 16]))], Split::Train);
    assert_ne!(images.files[0].sha256, renamed.files[0].sha256);
}

#[test]
fn folder_reads_labels_by_name_and_by_number() {
    let (a, b, c) = (gray([1, 2]), gray([3, 4]), gray([5, 6]));
    let read = |csv: &str| {
        let files: [(&str, &[u8]); 4] = [("a.png", &a), ("b.png", &b), ("c.png", &c), (CSV, csv.as_bytes())];
        let images = read(&files, Split::Train);
        assert_eq!((images.images, images.files.len()), (vec![1, 2, 3, 4, 5, 6], 2));
        (images.labels, images.classes, images.class_names.join(" "))
    };
    let names = (vec![1, 0, 1], 2, "cat dog".to_string());
    assert_eq!(read("file,label\nb.png,cat\na.png,dog\nc.png,dog\n"), names);
    assert_eq!(read("\u{feff}File,Label\r\n\r\nc.png, dog\r\nb.png ,cat\r\na.png,dog"), names);
    // Numbers are sorted by value, not as text, and 007 is 7.
    assert_eq!(read("a.png,10\nb.png,9\nc.png,10\n"), (vec![1, 0, 1], 2, "9 10".to_string()));
    assert_eq!(read("a.png,007\nb.png,0\nc.png,7\n"), (vec![1, 0, 1], 2, "0 7".to_string()));
    // With a word among them, all are text.
    assert_eq!(read("a.png,10\nb.png,9\nc.png,none\n"), (vec![0, 1, 2], 3, "10 9 none".to_string()));
}

#[test]
fn folder_splits_share_their_classes() {
    let [a, b, c] = [gray([1, 2]), gray([3, 4]), gray([5, 6])];
    let csv = b"a.png,x\nb.png,y\n";
    for (train, labels) in [("", CSV), ("train/", "train/labels.csv")] {
        let [first, second] = ["a.png", "b.png"].map(|name| format!("{train}{name}"));
        let mut files: Vec<(&str, &[u8])> = vec![(&first, &a), (&second, &b), ("test/c.png", &c)];
        assert_eq!(read(&files, Split::Train).images, [1, 2, 3, 4]);
        let test = read(&files, Split::Test);
        assert_eq!((&test.images[..], test.classes), (&[5, 6][..], 1));
        // If only one split has labels, the classes of the other are unknown.
        files.push((labels, csv));
        refused_in(Split::Test, &files, "test", &["no labels.csv", "training images have one"]);
        // A class has the number of the training images, whichever classes the test images have.
        files.push(("test/labels.csv", b"c.png,y\n"));
        let test = read(&files, Split::Test);
        assert_eq!((&test.labels[..], test.classes, test.class_names.join("")), (&[1][..], 2, "xy".into()));
        assert_eq!(read(&files, Split::Train).labels, [0, 1]);
        files.pop();
        files.push(("test/labels.csv", b"c.png,z\n"));
        refused_in(Split::Test, &files, "test/labels.csv", &["line 1", "label z", "no training image"]);
    }
    refused(&[("test/c.png", &c)], "", &["missing", "*.png, train/*.png"]);
    refused_in(Split::Test, &[("a.png", &a)], "", &["missing", "test/*.png"]);
    refused(&[("a.png", &a), ("train/b.png", &b)], "", &["holds PNG files", "train", "one of the two"]);
    refused(&[("train/a.png", &a), (CSV, b"a.png,x")], CSV, &["not in the folder of the images", "train"]);
    assert_eq!(read(&[("test/c.png", &c), ("test/labels.csv", b"c.png,z")], Split::Test).class_names, ["z"]);
}

#[test]
fn folder_refuses_images_of_different_kinds() {
    let first = gray([1, 2]);
    let tall = png(1, 2, ColorType::Grayscale, BitDepth::Eight, &[1, 2]);
    let parts = ["1 x 2 pixels", "a.png is 2 x 1 pixels"];
    refused(&[("a.png", &first), ("b.png", &first), ("c.png", &tall), ("d.png", &tall)], "c.png", &parts);
    refused(&[("a.png", &first), ("b.png", &rgb([0; 6]))], "b.png", &["in RGB", "a.png is", "in grayscale"]);
    refused(&[("a.png", &first), ("b.jpeg", b"")], "b.jpeg", &["not a PNG file", "convert or remove"]);
}

#[test]
fn folder_refuses_unsupported_and_damaged_png() {
    let one = |file: Vec<u8>, parts: &[&str]| refused(&[("a.png", &file)], "a.png", parts);
    one(png(2, 1, ColorType::Indexed, BitDepth::One, &[0]), &["palette", "convert it to RGB"]);
    one(png(2, 1, ColorType::GrayscaleAlpha, BitDepth::Eight, &[0; 4]), &["alpha", "background"]);
    one(png(2, 1, ColorType::Rgba, BitDepth::Sixteen, &[0; 16]), &["alpha", "background"]);
    one(png(2, 1, ColorType::Rgb, BitDepth::Sixteen, &[0; 12]), &["16 bits", "8 bits"]);
    one(png(2, 1, ColorType::Grayscale, BitDepth::One, &[0]), &["1 bits", "8 bits"]);
    one(png(8193, 1, ColorType::Grayscale, BitDepth::Eight, &[0; 8193]), &["8193 x 1", "8192"]);
    let mut transparent = Vec::new();
    let mut encoder = Encoder::new(&mut transparent, 1, 1);
    encoder.set_trns(vec![0, 0]);
    encoder.write_header().unwrap().write_image_data(&[7]).unwrap();
    one(transparent, &["transparent color"]);
    let whole = gray([1, 2]);
    // Truncated in the signature, in the header, in the data, and before the end.
    for end in [0, 4, 20, whole.len() - 20, whole.len() - 12] {
        one(whole[..end].to_vec(), &["not a readable PNG", "replace or remove"]);
    }
    one(b"<html>".to_vec(), &["not a readable PNG"]);
}

#[test]
fn folder_refuses_sizes_that_a_file_cannot_hold() {
    // The header is read before anything is allocated.
    let (width, height) = (8192u32, 8000u32);
    let mut file = gray([1, 2]);
    let header = [&b"IHDR"[..], &width.to_be_bytes(), &height.to_be_bytes(), &file[24..29]].concat();
    let mut sum = flate2::Crc::new();
    sum.update(&header);
    file.splice(12..33, [&header[..], &sum.sum().to_be_bytes()].concat());
    refused(&[("a.png", &file)], "a.png", &["8192 x 8000 pixels cannot be in", "replace or remove"]);
}

#[test]
fn folder_refuses_more_images_than_memory_holds() {
    let place = TempDir::new().unwrap();
    let black = png(8192, 8192, ColorType::Grayscale, BitDepth::Eight, &vec![0; 8192 * 8192]);
    fs::write(place.path().join("0.png"), black).unwrap();
    // Images of 67 MB, all in one file.
    let links = 30_000;
    for number in 1..links {
        fs::hard_link(place.path().join("0.png"), place.path().join(format!("{number}.png"))).unwrap();
    }
    let message = load(place.path(), Split::Train).unwrap_err().to_string();
    for part in ["30000 images of 8192 x 8192 pixels", "2013.3 GB", "fewer or smaller"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn folder_refuses_invalid_labels() {
    csv_refused(b"a.png,x\n", &["no label for b.png", "0 more"]);
    csv_refused(b"a.png,x\nb.png,y\nc.png,y\n", &["line 3", "c.png", "no such image"]);
    csv_refused(b"name,class\na.png,x\nb.png,y\n", &["line 1", "names name", "a header would be `file,label`"]);
    csv_refused(b"a.png,x\nb.png\n", &["line 2", "1 fields", "b.png"]);
    csv_refused(b"a.png,x\nb.png,y,z\n", &["line 2", "3 fields", "b.png,y,z"]);
    csv_refused(b"a.png,x\nb.png, \n", &["line 2", "empty field"]);
    csv_refused(b"a.png,x\nb.png,y\na.png,x\n", &["a.png twice", "lines 1 and 3"]);
    csv_refused(b"", &["no label for a.png", "1 more"]);
    csv_refused(&[b'a', 0xff, b',', b'x'], &["not UTF-8"]);
}

#[test]
fn folder_without_data_names_all_formats() {
    let parts = ["holds no data set", "train-images-idx3-ubyte", "data_batch_*.bin", "train_data_batch_*.npz", "*.png"];
    refused(&[("notes.txt", b"")], "", &parts);
}
