//! `evaluate` on models of other programs, whose files do not say which data they were trained on.

use crate::foreign::Foreign;
use crate::harness::{EVALUATE, command, fails, messages, text};
use degrain::output::Picture;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Images of a flow are measured only without padding. An evaluation of padded ones says so and
/// measures the rest.
#[test]
fn padded_images_of_a_flow_have_no_likelihood() {
    let foreign = Foreign::with_metadata("flow");
    foreign.remove("degrain.json");
    foreign.set("unet/config.json", json!({"sample_size": 32}));
    let out = foreign.0.path().join("evaluation");
    let [data, extractor, cache] = crate::evaluation::places();
    let root = foreign.root();
    let model = ["--checkpoint", text(&root), "--padded"];
    let places = ["--data", &data, "--feature-extractor", &extractor, "--feature-cache", &cache, "--out", text(&out)];
    let few = ["--count", "80", "--steps", "1", "--nearest-count", "20"];
    let told = messages(command(EVALUATE, &[&model[..], &places, &few].concat()));
    assert!(told.contains("bits per dimension are not measured"), "{told}");
    let found: Value = serde_json::from_slice(&fs::read(out.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(found["likelihood"], json!([]));
}

/// The files of a U-Net need not say the size of its images, but they say the channels: image files
/// are read with those, and other data must have them.
#[test]
fn evaluation_takes_the_channels_of_the_model() {
    let foreign = Foreign::new();
    foreign.set("unet/config.json", json!({"sample_size": null}));
    let root = foreign.root();
    let evaluate = |data: &Path, parts: &[&str]| {
        fails(command(EVALUATE, &["--checkpoint", text(&root), "--data", text(data)]), 1, parts);
    };
    let [pictures, records] = ["pictures", "records"].map(|name| foreign.0.path().join(name));
    fs::create_dir_all(&records).unwrap();
    for split in ["train", "test"] {
        let place = pictures.join(split);
        fs::create_dir_all(&place).unwrap();
        let picture = Picture { height: 28, width: 28, channels: 3, bytes: (0..3 * 784).map(|i| i as u8).collect() };
        picture.save_png(&place.join("a.png"), &[]).unwrap();
    }
    evaluate(&pictures, &["the model has 11 classes", text(&pictures)]);
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        fs::write(records.join(name), vec![0; 3073]).unwrap();
    }
    evaluate(&records, &["images of 1 channel,", text(&records), "have 3 channels", "--data"]);
}

#[test]
fn images_are_padded_or_resized() {
    let foreign = Foreign::new();
    let root = foreign.root();
    let arguments = ["--checkpoint", text(&root), "--padded", "--resize", "crop"];
    fails(command(EVALUATE, &arguments), 2, &["--padded", "--resize", "cannot be used with"]);
}

/// The user says that a model was trained on resized images.
#[test]
fn evaluation_resizes_image_files_to_the_size_of_the_model() {
    let foreign = Foreign::new();
    let data = foreign.0.path().join("data");
    for class in 0..11 {
        for split in ["train", "test"] {
            let place = data.join(split).join(class.to_string());
            fs::create_dir_all(&place).unwrap();
            let picture = Picture { height: 14, width: 14, channels: 1, bytes: vec![class as u8; 196] };
            picture.save_png(&place.join("a.png"), &[]).unwrap();
        }
    }
    let root = foreign.root();
    let evaluate = |options: &[&str], parts: &[&str]| {
        let of_model = ["--checkpoint", text(&root), "--data", text(&data)];
        fails(command(EVALUATE, &[&of_model[..], options].concat()), 1, parts);
    };
    evaluate(&[], &["28x28", "14x14", "--padded", "--resize"]);
    let resized = ["training and test images, each: ", "brought to 28x28: stretched", "extractor was trained on MNIST"];
    evaluate(&["--resize", "stretch"], &resized);
}

/// A model whose images are larger than the data's can be trained on padded or on resized images,
/// and its files do not say which.
#[test]
fn evaluation_does_not_guess_between_padded_and_resized() {
    let foreign = Foreign::new();
    let root = foreign.root();
    let out = foreign.0.path().join("evaluation");
    let [data, extractor, cache] = crate::evaluation::places();
    let evaluate = |options: &[&str], parts: &[&str]| {
        let common = ["--checkpoint", text(&root), "--data", &data, "--feature-extractor", &extractor];
        let places = ["--feature-cache", &cache, "--out", text(&out)];
        fails(command(EVALUATE, &[&common[..], &places, options].concat()), 1, parts);
        assert!(!out.exists(), "{options:?}: files are left");
    };
    evaluate(&["--count", "9"], &["the model has 11 classes", "--null-class", "such as 10"]);
    evaluate(&["--count", "9", "--null-class", "10"], &["--count 9", "at least 65"]);
    evaluate(&["--null-class", "10", "--padded"], &["--padded has no effect"]);
    foreign.set("unet/config.json", json!({"sample_size": 32}));
    let parts = ["32x32", "28x28", "--padded", "resized", "--data", "feature extractor"];
    evaluate(&["--null-class", "10"], &parts);
    evaluate(&["--null-class", "10", "--padded", "--count", "9"], &["--count 9", "at least 65"]);
    foreign.set("unet/config.json", json!({"sample_size": 20}));
    evaluate(&["--null-class", "10", "--padded"], &["20, 20", "cannot be padded"]);
}
