//! Folders of image files: places, classes, labels, and the cache file.

use crate::common::pictures::{Pictures, gray, rgb};
use degrain::data::{ChannelChoice, Dataset, LoadOptions, Split, load, load_with};
use std::fs;
use std::path::Path;

const CSV: &str = "labels.csv";

fn read(files: &[(&str, &[u8])], split: Split) -> Dataset {
    load(Pictures::new(files).path(), split).unwrap()
}

/// Labels and class names of the training images.
fn classes(files: &[(&str, &[u8])]) -> (Vec<u32>, String) {
    let data = read(files, Split::Train);
    assert_eq!(data.classes, data.class_names.len());
    (data.labels, data.class_names.join(" "))
}

#[test]
fn folder_sorts_grayscale_images_by_name() {
    let images = read(
        &[
            ("img9.png", &gray([7, 8])),
            ("img10.png", &gray([1, 2])),
            ("img2.PNG", &gray([3, 4])),
            (".hidden.png", b"of some system"),
            ("__MACOSX/.x.png", b"of some system"),
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
    let bytes = [1, 2, 3, 4, 7, 8].map(|byte| f64::from(byte) / 127.5 - 1.0);
    assert!((images.statistics.mean - bytes.iter().sum::<f64>() / 6.0).abs() < 1e-12);
}

#[test]
fn folder_splits_color_images_into_planes() {
    let images = read(&[("a.png", &rgb([1, 2, 3, 4, 5, 6])), ("b.png", &rgb([11, 12, 13, 14, 15, 16]))], Split::Train);
    assert_eq!((images.channels, images.height, images.width), (3, 1, 2));
    assert_eq!(images.images, [1, 4, 2, 5, 3, 6, 11, 14, 12, 15, 13, 16]);
    let renamed = read(&[("a.png", &rgb([1, 2, 3, 4, 5, 6])), ("c.png", &rgb([11, 12, 13, 14, 15, 16]))], Split::Train);
    assert_ne!(images.files[0].sha256, renamed.files[0].sha256);
}

/// Files of labels as programs and people write them.
#[test]
fn folder_reads_labels_of_many_forms() {
    let (a, b, c) = (gray([1, 2]), gray([3, 4]), gray([5, 6]));
    let read = |name: &str, text: &str| {
        let files: [(&str, &[u8]); 4] = [("a.png", &a), ("b.png", &b), ("c.png", &c), (name, text.as_bytes())];
        classes(&files)
    };
    let names = (vec![1, 0, 1], "cat dog".to_string());
    for text in [
        "file,label\nb.png,cat\na.png,dog\nc.png,dog\n",
        "\u{feff}File,Label\r\n\r\nc.png, dog\r\nb.png ,cat\r\na.png,dog",
        // pandas with an index, with all fields quoted, and a spreadsheet of other countries.
        ",file,label\n0,a.png,dog\n1,b.png,cat\n2,c.png,dog\n",
        "\"file\",\"label\"\n\"a.png\",\"dog\"\n\"b.png\",\"cat\"\n\"c.png\",\"dog\"\n",
        "a.png,dog\nb.png,cat\nc.png,dog\n",
        "file;label\na.png;dog\nb.png;cat\nc.png;dog\n",
        "label\tfile_name\ndog\ta.png\ncat\tb.png\ndog\tc.png\n",
        // Without extensions, with folders, and with other columns.
        "id,breed,class\na,x,dog\nb,y,cat\nc,z,dog\n",
        "filename,class_name\n./a.png,dog\nimages/b.png,cat\nimages\\c.png,dog\n",
        "file,text,label\na.png,\"a dog, sitting\",dog\nb.png,\"a \"\"cat\"\"\",cat\nc.png,\"two\nlines\",dog\n",
    ] {
        assert_eq!(read(CSV, text), names, "{text}");
    }
    // Numbers are sorted by value, not as text, and 007 is 7.
    assert_eq!(read(CSV, "a.png,10\nb.png,9\nc.png,10\n"), (vec![1, 0, 1], "9 10".to_string()));
    assert_eq!(read(CSV, "a.png,007\nb.png,0\nc.png,7\n"), (vec![1, 0, 1], "0 7".to_string()));
    // pandas writes integers with a point if a label of the column is missing.
    assert_eq!(read(CSV, "a.png,10.0\nb.png,9.0\nc.png,10.0\n"), (vec![1, 0, 1], "9 10".to_string()));
    // With a word among them, all are text.
    assert_eq!(read(CSV, "a.png,10\nb.png,9\nc.png,none\n"), (vec![0, 1, 2], "10 9 none".to_string()));
    assert_eq!(read("metadata.csv", "file_name,label\na.png,dog\nb.png,cat\nc.png,dog\n"), names);
    let lines = "{\"file_name\": \"a.png\", \"label\": 3}\n{\"file_name\": \"b.png\", \"label\": 255}\n\
                 {\"label\": 3, \"file_name\": \"c.png\", \"text\": \"x\"}\n";
    assert_eq!(read("metadata.jsonl", lines), (vec![0, 1, 0], "3 255".to_string()));
    // Captions are not classes.
    assert_eq!(read("metadata.csv", "file_name,text\na.png,x\nb.png,y\nc.png,z\n"), (vec![0; 3], "image".to_string()));
}

/// macOS writes a letter and its accent as two characters.
#[test]
fn folder_reads_names_in_either_unicode_form() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    for (file, row) in [(composed, decomposed), (decomposed, composed)] {
        let csv = format!("{row}.png,{row}\nb.png,x\n");
        let files: [(&str, &[u8]); 3] =
            [(&format!("{file}.png"), &gray([1, 2])), ("b.png", &gray([3, 4])), (CSV, csv.as_bytes())];
        let data = read(&files, Split::Train);
        assert_eq!(data.class_names, [composed, "x"]);
    }
}

#[test]
fn folder_takes_subfolders_as_classes() {
    let images: Vec<Vec<u8>> = (0..5).map(|n| gray([n, n])).collect();
    let files: Vec<(&str, &[u8])> = ["cat/1.png", "cat/deep/2.png", "dog/1.png", "empty/notes.txt", "zebra/1.png"]
        .into_iter()
        .zip(images.iter().map(Vec::as_slice))
        .collect();
    assert_eq!(classes(&files), (vec![0, 0, 1, 2], "cat dog zebra".into()));
    let numbers: Vec<(&str, &[u8])> =
        ["10/a.png", "2/a.png", "2/b.png"].into_iter().zip(images.iter().map(Vec::as_slice)).collect();
    assert_eq!(classes(&numbers), (vec![1, 0, 0], "2 10".into()));
    // A split that lacks a class has the numbers of the training images.
    for test in ["test", "testing", "val", "valid", "validation"] {
        let name = format!("{test}/zebra/9.png");
        let files: [(&str, &[u8]); 4] = [
            ("train/cat/1.png", &images[0]),
            ("train/dog/1.png", &images[1]),
            ("train/zebra/1.png", &images[2]),
            (&name, &images[3]),
        ];
        assert_eq!(classes(&files), (vec![0, 1, 2], "cat dog zebra".into()));
        let data = read(&files, Split::Test);
        assert_eq!((data.labels, data.images.to_vec(), data.classes), (vec![2], vec![3, 3], 3));
    }
}

/// A file of labels above the folder of the images, as in many competitions.
#[test]
fn folder_reads_labels_above_the_images() {
    let [a, b, c] = [gray([1, 2]), gray([3, 4]), gray([5, 6])];
    let csv = b"image_id,label\na,x\nb,y\nc,y\n";
    let files: [(&str, &[u8]); 4] = [("train/a.png", &a), ("train/b.png", &b), ("test/c.png", &c), (CSV, csv)];
    assert_eq!(classes(&files), (vec![0, 1], "x y".into()));
    let test = read(&files, Split::Test);
    assert_eq!((test.labels, test.class_names.join("")), (vec![1], "xy".into()));
    let files: [(&str, &[u8]); 3] = [("images/a.png", &a), ("images/b.png", &b), (CSV, b"a.png,x\nb.png,y\n")];
    assert_eq!(classes(&files), (vec![0, 1], "x y".into()));
}

/// The same names in both splits, and in several subfolders.
#[test]
fn folder_keeps_the_labels_of_the_splits_apart() {
    let [a, b, c] = [gray([1, 2]), gray([3, 4]), gray([5, 6])];
    for csv in [
        "train/1.png,cat\ntest/1.png,dog\ntrain/2.png,dog\n",
        "test/1.png,dog\ntrain/1.png,cat\ntrain/2.png,dog\n",
        "file,label\ntrain/1.png,cat\ntest/1.png,dog\ntrain/2.png,dog\n",
        "file,label\ntest/1,dog\ntrain/2,dog\n./train/1,cat\n",
    ] {
        let files: [(&str, &[u8]); 4] =
            [("train/1.png", &a), ("train/2.png", &b), ("test/1.png", &c), (CSV, csv.as_bytes())];
        assert_eq!(classes(&files), (vec![0, 1], "cat dog".into()));
        assert_eq!(read(&files, Split::Test).labels, [1]);
    }
    // The label of a test image is not that of a training image with its name.
    let missing = b"file,label\ntest/1.png,dog\ntrain/2.png,dog\n";
    let files: [(&str, &[u8]); 4] = [("train/1.png", &a), ("train/2.png", &b), ("test/1.png", &c), (CSV, missing)];
    let message = load(Pictures::new(&files).path(), Split::Train).unwrap_err().to_string();
    assert!(message.contains("no label for 1.png"), "{message}");
    // Training images in the folder itself, next to test/.
    let csv = b"file_name,label\n1.png,cat\ntest/1.png,dog\n2.png,dog\n";
    let files: [(&str, &[u8]); 4] = [("1.png", &a), ("2.png", &b), ("test/1.png", &c), ("metadata.csv", csv)];
    assert_eq!(classes(&files), (vec![0, 1], "cat dog".into()));
    assert_eq!(read(&files, Split::Test).labels, [1]);
    // Subfolders with equal names in them.
    let csv = b"file,label\nimages/x/1.png,cat\nimages/y/1.png,dog\n";
    let files: [(&str, &[u8]); 3] = [("train/x/1.png", &a), ("train/y/1.png", &b), (CSV, csv)];
    assert_eq!(classes(&files), (vec![0, 1], "cat dog".into()));
}

/// Names of the splits in capitals, empty subfolders, and several names of one split.
#[test]
fn folder_says_where_the_splits_are() {
    let [a, b, c] = [gray([1, 2]), gray([3, 4]), gray([5, 6])];
    let files: [(&str, &[u8]); 5] = [
        ("Train/x/1.png", &a),
        ("Train/y/1.png", &b),
        ("test/notes.txt", b""),
        ("Val/x/1.png", &c),
        ("valid/x/2.png", &c),
    ];
    assert_eq!(classes(&files), (vec![0, 1], "x y".into()));
    let test = read(&files, Split::Test);
    assert_eq!((test.count, test.images.to_vec()), (1, vec![5, 6]));
    let notes = read(&files, Split::Train).notes.join("\n");
    for part in ["the test images are in", "Val", "valid is not used"] {
        assert!(notes.contains(part), "{notes}");
    }
}

/// Notes of layouts that may mean something else.
#[test]
fn folder_hints_at_classes_that_are_not_read() {
    let [a, b] = [gray([1, 2]), gray([3, 4])];
    let notes = |files: &[(&str, &[u8])]| {
        let data = read(files, Split::Train);
        assert_eq!(data.classes, 1);
        data.notes.join("\n")
    };
    let nested = notes(&[("data/cat/1.png", &a), ("data/dog/1.png", &b)]);
    assert!(nested.contains("use --data") && nested.contains("data"), "{nested}");
    let table = notes(&[("train/1.png", &a), ("train/2.png", &b), ("train.csv", b"id,label\n1,x\n2,y\n")]);
    assert!(table.contains("train.csv is not read") && table.contains("labels.csv"), "{table}");
    let columns = notes(&[("1.png", &a), ("2.png", &b), (CSV, b"id,breed\n1,x\n2,y\n")]);
    assert!(columns.contains("id, breed") && columns.contains("category"), "{columns}");
    // One class without folders in it is as it should be.
    let plain = notes(&[("cat/1.png", &a), ("cat/2.png", &b)]);
    assert!(!plain.contains("--data"), "{plain}");
}

/// Captions are no labels: the subfolders are the classes.
#[test]
fn folder_of_classes_with_captions() {
    let files: [(&str, &[u8]); 3] = [
        ("cat/1.png", &gray([1, 2])),
        ("dog/1.png", &gray([3, 4])),
        ("metadata.csv", b"file_name,text\ncat/1.png,a cat\ndog/1.png,a dog\n"),
    ];
    assert_eq!(classes(&files), (vec![0, 1], "cat dog".into()));
}

#[test]
fn folder_refuses_more_images_than_memory_holds() {
    let data = Pictures::new(&[("0.png", &gray([1, 2]))]);
    for number in 1..20_000 {
        fs::hard_link(data.path().join("0.png"), data.path().join(format!("{number}.png"))).unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    // Without a cache folder, and with one that cannot be made.
    for cache in [None, Some(file.path().join("degrain"))] {
        let why = if cache.is_some() { "cannot be written" } else { "smaller --resolution" };
        let options = LoadOptions {
            resolution: "8192".parse().unwrap(),
            channels: ChannelChoice::Rgb,
            cache,
            ..LoadOptions::default()
        };
        let message = load_with(data.path(), Split::Train, &options).unwrap_err().to_string();
        for part in ["20000 images", "4026.5 GB", "more than the memory", "smaller --resolution", why] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn folder_splits_share_their_classes() {
    let [a, b, c] = [gray([1, 2]), gray([3, 4]), gray([5, 6])];
    for train in ["", "train/"] {
        let [first, second, labels] = ["a.png", "b.png", CSV].map(|name| format!("{train}{name}"));
        let mut files: Vec<(&str, &[u8])> = vec![(&first, &a), (&second, &b), ("test/c.png", &c)];
        assert_eq!(read(&files, Split::Train).images, [1, 2, 3, 4]);
        let test = read(&files, Split::Test);
        assert_eq!((&test.images[..], test.classes), (&[5, 6][..], 1));
        files.push((&labels, b"a.png,x\nb.png,y\n"));
        // A class has the number of the training images, whichever classes the test images have.
        files.push(("test/labels.csv", b"c.png,y\n"));
        let test = read(&files, Split::Test);
        assert_eq!((&test.labels[..], test.classes, test.class_names.join("")), (&[1][..], 2, "xy".into()));
        assert_eq!(read(&files, Split::Train).labels, [0, 1]);
    }
    assert_eq!(read(&[("test/c.png", &c), ("test/labels.csv", b"c.png,z")], Split::Test).class_names, ["z"]);
}

/// The test images get the size and the channels of the training images.
#[test]
fn folder_splits_share_their_size() {
    let files: [(&str, &[u8]); 3] =
        [("train/a.png", &gray([1, 2])), ("train/b.png", &gray([3, 4])), ("test/c.png", &rgb([9; 6]))];
    let test = read(&files, Split::Test);
    assert_eq!((test.shape(), &test.images[..]), ([1, 1, 2], &[9, 9][..]));
}

fn cache_files(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect());
    names.unwrap_or_default()
}

/// Decodes once, and again for other content, another size, or a damaged cache file.
#[test]
fn folder_is_decoded_once() {
    let folder = Pictures::new(&[("x/a.png", &gray([1, 2])), ("y/b.png", &gray([3, 4]))]);
    let cache = tempfile::tempdir().unwrap();
    let options = |resolution: &str| LoadOptions {
        cache: Some(cache.path().join("degrain")),
        resolution: resolution.parse().unwrap(),
        ..LoadOptions::default()
    };
    let read = |resolution: &str| load_with(folder.path(), Split::Train, &options(resolution)).unwrap();
    let files = || cache_files(&cache.path().join("degrain"));
    let plain = load(folder.path(), Split::Train).unwrap();
    let first = read("auto");
    let again = read("auto");
    let [name] = &files()[..] else { panic!("{:?}", files()) };
    for data in [&first, &again] {
        assert_eq!((&data.images, &data.labels, data.count), (&plain.images, &plain.labels, plain.count));
        assert_eq!((data.statistics, data.sha256()), (plain.statistics, plain.sha256()));
        assert!(data.notes.join(" ").contains(name), "{:?}", data.notes);
    }
    assert!(first.notes.join(" ").contains("decoded into") && again.notes.join(" ").contains("decoded before"));
    // Changes of the images in memory do not reach the file.
    let mut changed = read("auto");
    changed.swap(0, 1);
    assert_eq!(changed.images, [3, 4, 1, 2]);
    assert_eq!(read("auto").images, [1, 2, 3, 4]);
    // Another size, then other content of the same file.
    assert_eq!(read("2x4").images.len(), 16);
    assert_eq!(files().len(), 2);
    fs::write(folder.path().join("x/a.png"), gray([7, 8])).unwrap();
    assert_eq!(read("auto").images, [7, 8, 3, 4]);
    assert_eq!(files().len(), 3);
    // Each damage of the cache file is noticed.
    let path = cache.path().join("degrain").join(name);
    fs::write(folder.path().join("x/a.png"), gray([1, 2])).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[2] ^= 1;
    for damaged in [&flipped[..], &whole[1..], &whole[..whole.len() - 1], &whole[..10], b""] {
        fs::write(&path, damaged).unwrap();
        let data = read("auto");
        assert_eq!(data.images, [1, 2, 3, 4]);
        assert!(data.notes.join(" ").contains("is made again"), "{:?}", data.notes);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

/// A cache folder that cannot be written is a note, not an error.
#[test]
fn folder_is_read_without_a_cache() {
    let folder = Pictures::new(&[("a.png", &gray([1, 2])), ("b.png", &gray([3, 4]))]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = LoadOptions { cache: Some(file.path().join("degrain")), ..LoadOptions::default() };
    let data = load_with(folder.path(), Split::Train, &options).unwrap();
    assert_eq!(data.images, [1, 2, 3, 4]);
    assert!(data.notes.join(" ").contains("cannot be written"), "{:?}", data.notes);
}

#[test]
fn folder_says_what_it_passed_over() {
    let whole = gray([1, 2]);
    let files: [(&str, &[u8]); 5] =
        [("a.png", &whole), ("b.png", &whole[..40]), ("c.png", b"<html>"), ("d.heic", b"x"), ("e.heic", b"x")];
    let folder = Pictures::new(&files);
    let cache = tempfile::tempdir().unwrap();
    for cache in [None, Some(cache.path().into()), Some(cache.path().into())] {
        let options = LoadOptions { skip_damaged: true, cache, ..LoadOptions::default() };
        let data = load_with(folder.path(), Split::Train, &options).unwrap();
        assert_eq!((data.count, &data.images[..], data.labels.len()), (1, &[1, 2][..], 1));
        let notes = data.notes.join("\n");
        for part in ["2 damaged files", "b.png", "c.png", "web page", "2 files .heic", "convert"] {
            assert!(notes.contains(part), "{notes}");
        }
        // The cache file of a reading that skipped files does not hide them.
        let options = LoadOptions { skip_damaged: false, ..options };
        assert!(load_with(folder.path(), Split::Train, &options).unwrap_err().to_string().contains("b.png"));
    }
}
