//! `evaluate`: inputs that cannot be evaluated, and options without effect, give one message.

use crate::common::run::{copy, digits, idx};
use crate::common::small::small;
use crate::evaluation::{chosen, inputs, places, save, untrained};
use crate::harness::{EVALUATE, command, fails, refused, succeeds, text, train};
use degrain::output::{Images, Picture, npz};
use degrain::train::Settings;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The name `idx` is that of every data set of unknown IDX files.
#[test]
fn feature_extractor_of_other_data_with_the_same_name_is_refused() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let other = folder.path().join("other");
    copy(Path::new(&places[0]), &other);
    let images = other.join("train-images-idx3-ubyte");
    let mut bytes = fs::read(&images).unwrap();
    bytes[16 + 400] ^= 1;
    fs::write(&images, bytes).unwrap();
    let samples = folder.path().join("samples.npz");
    let (bytes, labels) = chosen(0..100);
    save(&samples, &bytes, Some(&labels));
    let [_, extractor, features] = &places;
    let out = folder.path().join("out");
    let inputs = ["--feature-extractor", extractor, "--feature-cache", features, "--out", text(&out)];
    let data = ["--samples", text(&samples), "--data", text(&other)];
    refused(EVALUATE, &[&data[..], &inputs].concat(), &["feature extractor", "other data (idx)", "--data FOLDER"]);
}

/// The name of the data does not show that the images have another size.
#[test]
fn feature_extractor_of_other_images_is_refused_with_both_sizes() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let data = folder.path().join("data");
    for split in ["train", "test"] {
        for number in 0..100u8 {
            let place = data.join(format!("{split}/{}", number % 2));
            fs::create_dir_all(&place).unwrap();
            let picture = Picture { height: 32, width: 32, channels: 1, bytes: vec![number; 32 * 32] };
            picture.save_png(&place.join(format!("{number}.png")), &[]).unwrap();
        }
    }
    let samples = folder.path().join("samples.npz");
    npz::save_npz(&samples, &Images::new(vec![0; 100 * 1024], [100, 1, 32, 32]), None).unwrap();
    let [_, extractor, features] = &places;
    let out = folder.path().join("out");
    let inputs = ["--feature-extractor", extractor, "--feature-cache", features, "--out", text(&out)];
    let task = ["--samples", text(&samples), "--data", text(&data)];
    refused(EVALUATE, &[&task[..], &inputs].concat(), &["images of 28x28 with 1 channel", "32x32 with 1 channel"]);
}

/// A checkpoint by its bare name, in the folder of its run, belongs to the run. A copy of it in
/// another project does not belong to the `config.toml` there.
#[test]
fn run_of_a_checkpoint_is_found_by_its_files() {
    let folder = TempDir::new().unwrap();
    let [run, project] = ["run", "project"].map(|name| folder.path().join(name));
    untrained("ddpm", &run, &[]);
    let mut names = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.find(|name| name.starts_with("checkpoint-")).unwrap();
    copy(&run.join(&name), &project.join(&name));
    fs::write(project.join("config.toml"), "title = \"another program's\"").unwrap();
    let [data, extractor, features] = &places();
    let given = ["--data", data, "--feature-extractor", extractor, "--feature-cache", features, "--count", "5"];
    for (place, checkpoint) in [(&run, name.clone()), (&project, name.clone()), (&project, format!("./{name}"))] {
        let mut evaluate = command(EVALUATE, &[&["--checkpoint", &checkpoint][..], &given].concat());
        evaluate.current_dir(place);
        fails(evaluate, 1, &["--count 5", "at least 65"]);
    }
    // The run's settings also say where its data are, which are not in the default folder here.
    for checkpoint in [".", "unet"] {
        let mut evaluate = command(EVALUATE, &[&["--checkpoint", checkpoint][..], &given[2..]].concat());
        evaluate.current_dir(run.join(&name));
        fails(evaluate, 1, &["--count 5", "at least 65"]);
    }
}

/// The user asked for enough samples, so the message says which images are too few.
#[test]
fn too_few_test_images_are_named() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let data = folder.path().join("data");
    copy(Path::new(&places[0]), &data);
    for (name, dimensions, size) in [("images-idx3", &[40, 28, 28][..], 784), ("labels-idx1", &[40], 1)] {
        let file = data.join(format!("t10k-{name}-ubyte"));
        let header = 4 + 4 * dimensions.len();
        let elements = fs::read(&file).unwrap()[header..][..40 * size].to_vec();
        fs::write(&file, idx(dimensions, &elements)).unwrap();
    }
    let samples = folder.path().join("samples.npz");
    let (bytes, labels) = chosen(0..100);
    save(&samples, &bytes, Some(&labels));
    let [_, extractor, features] = &places;
    let out = folder.path().join("out");
    let inputs = ["--feature-extractor", extractor, "--feature-cache", features, "--out", text(&out)];
    let task = ["--samples", text(&samples), "--data", text(&data)];
    refused(EVALUATE, &[&task[..], &inputs].concat(), &["at least 65 test images", "there are 40"]);
}

/// The checksum of the data depends on how the files were resized.
#[test]
fn evaluation_names_resize_for_image_files() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    for split in ["train", "test"] {
        fs::create_dir_all(data.join(split)).unwrap();
        for number in 0..12 {
            let bytes = (0..28 * 40).map(|i| (i * number) as u8).collect();
            let picture = Picture { height: 28, width: 40, channels: 1, bytes };
            picture.save_png(&data.join(format!("{split}/{number}.png")), &[]).unwrap();
        }
    }
    let run = folder.path().join("run");
    let settings = Settings { data: Some(data), out: Some(run.clone()), validation_count: Some(2), ..small("plain") };
    succeeds(train(&settings, &["--resolution", "28", "--steps", "1"]));
    let of_run = ["--checkpoint", text(&run)];
    let told = ["trained on images", "--data, and --resize as in training"];
    refused(EVALUATE, &[&of_run[..], &["--resize", "pad"]].concat(), &told);
    // Read as in training, so the next check fails.
    let other = ["images of 28x40 pixels", "all images are of one class", "cannot be evaluated"];
    refused(EVALUATE, &[&of_run[..], &["--resize", "crop"]].concat(), &other);
}

#[test]
fn evaluate_refuses_invalid_inputs_with_one_message() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let [data, extractor, _] = &places;
    let out = path("out");
    let small = |what: [&str; 2], more: &[&str]| -> Vec<String> {
        [&what[..], &inputs(&places, &out), more].concat().iter().map(|part| part.to_string()).collect()
    };
    let refuses = |what: [&str; 2], more: &[&str], parts: &[&str]| {
        let arguments = small(what, more);
        refused(EVALUATE, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), parts);
        assert!(!Path::new(&out).exists(), "{more:?}: files were left");
    };
    let run = path("run");
    untrained("ddpm", Path::new(&run), &[]);
    refuses(["--checkpoint", &run], &["--count", "64"], &["--count 64", "at least 65"]);
    refuses(["--checkpoint", &run], &["--batch", "0"], &["--batch"]);
    refuses(["--checkpoint", &run], &["--guidance", "-1"], &["guidance scale of -1"]);
    refuses(["--checkpoint", &run], &["--likelihood-draws", "0"], &["--likelihood-draws"]);
    for (options, parts) in [
        (&["--sweep-count", "100"][..], &["--sweep-count has no effect", "--sweep"][..]),
        (&["--likelihood-tolerance", "0.1"], &["--likelihood-tolerance has no effect", "continuous time"]),
        (&["--latent-components", "5"], &["--latent-components has no effect", "autoencoders"]),
        (&["--likelihood-images", "0", "--likelihood-draws", "2"], &["--likelihood-draws has no effect"]),
        (&["--guidance", "0", "--cas-steps", "5"], &["--cas-steps has no effect", "classes"]),
        (&["--guidance", "0", "--balance-count", "5"], &["--balance-count has no effect", "labels"]),
        (&["--guidance", "1", "--guidance-rescale", "0.5"], &["--guidance-rescale has no effect"]),
        (&["--sampler", "heun", "--spacing", "trailing"], &["--spacing has no effect", "heun"]),
    ] {
        refuses(["--checkpoint", &run], options, parts);
    }
    refuses(["--checkpoint", &run], &["--sweep", "heun:5:-2"], &["--sweep heun:5", "guidance scale of -2"]);
    let unknown = command(EVALUATE, &["--checkpoint", &run, "--sweep", "hoin:5"]);
    fails(unknown, 2, &["no sampler `hoin`", "ddpm, ddim", "heun"]);
    let steps = command(EVALUATE, &["--checkpoint", &run, "--sweep", "ode:5"]);
    fails(steps, 2, &["`ode:5`", "chooses its steps itself", "ode::GUIDANCE"]);
    refuses(["--checkpoint", &run], &["--resize", "pad"], &["--resize has no effect here", "another format"]);
    refuses(["--checkpoint", &run], &["--skip-damaged"], &["--skip-damaged has no effect here"]);
    refuses(["--samples", &run], &[], &["run"]);
    refuses(["--checkpoint", &path("nothing")], &[], &["nothing"]);

    // Data, checkpoint and feature extractor of different data sets.
    refused(
        EVALUATE,
        &["--checkpoint", &run, "--data", "data/mnist", "--out", &out],
        &["trained on idx", "MNIST", "--data"],
    );
    refused(
        EVALUATE,
        &["--checkpoint", &run, "--out", &out],
        &["feature extractor was trained on MNIST", "--feature-extractor"],
    );
    let missing = path("no-extractor");
    refused(
        EVALUATE,
        &["--checkpoint", &run, "--feature-extractor", &missing, "--out", &out],
        &["there is no feature extractor", "--noise-aware false"],
    );
    refused(
        EVALUATE,
        &["--checkpoint", &run, "--feature-extractor", &run, "--out", &out],
        &["UNet2DModel, not a classifier"],
    );
    refused(
        EVALUATE,
        &["--checkpoint", extractor, "--data", data, "--out", &out],
        &["classifier, which cannot sample images"],
    );
    // A feature extractor whose files name another number of classes.
    let torn = path("torn");
    copy(Path::new(extractor), Path::new(&torn));
    let metadata = Path::new(&torn).join("degrain.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    json["class_names"].as_array_mut().unwrap().pop();
    fs::write(&metadata, json.to_string()).unwrap();
    refused(
        EVALUATE,
        &["--checkpoint", &run, "--data", data, "--feature-extractor", &torn, "--out", &out],
        &["10 classes", "names 9", "do not belong together"],
    );
    for option in ["--count", "--balance-count", "--sweep-count"] {
        let given = format!("{option} 4000000000");
        refuses(["--checkpoint", &run], &["--sweep", "ddim:2", option, "4000000000"], &[&given, "GB of memory"]);
    }
    let no_test = digits().to_str().unwrap();
    refused(EVALUATE, &["--checkpoint", &run, "--data", no_test, "--out", &out], &["t10k-images"]);

    // Images from a file.
    let archive = path("samples.npz");
    let (bytes, labels) = chosen(0..64);
    save(Path::new(&archive), &bytes, Some(&labels));
    refuses(["--samples", &archive], &[], &["65", "64"]);
    for option in ["--steps", "--count", "--batch", "--sweep-count", "--likelihood-images", "--guidance"] {
        refuses(["--samples", &archive], &[option, "5"], &[option, "has no effect"]);
    }
    for [option, value] in [["--sampler", "ddim"], ["--guidance-interval", "0.3,5"]] {
        refuses(["--samples", &archive], &[option, value], &[option, "has no effect", "--samples"]);
    }
    let wide = Images::new(vec![0u8; 100 * 900], [100, 1, 30, 30]);
    npz::save_npz(Path::new(&archive), &wide, None).unwrap();
    refuses(["--samples", &archive], &[], &["samples.npz", "30x30", "28x28", "--data", "--feature-extractor"]);
    save(Path::new(&archive), &bytes, Some(&[12; 64]));
    refuses(["--samples", &archive], &[], &["arr_1", "label 12"]);
    fs::write(&archive, wrong_type()).unwrap();
    refuses(["--samples", &archive], &[], &["arr_0", "<f4", "unsigned bytes"]);
    fs::write(&archive, b"no archive").unwrap();
    refuses(["--samples", &archive], &[], &["samples.npz", "npz archive"]);

    // Runs that cannot be compared.
    refused(EVALUATE, &["--compare", &run], &["has not been evaluated", "evaluate --checkpoint"]);
    refused(EVALUATE, &["--compare", &path("nothing")], &["no such folder"]);
    for (option, value) in [("--count", "5"), ("--data", "x"), ("--adapter", "0"), ("--sampler", "ddim")] {
        refused(EVALUATE, &["--compare", &run, option, value], &[option, "has no effect with --compare"]);
    }
}

/// An archive whose `arr_0` contains floats.
fn wrong_type() -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("arr_0.npy", zip::write::SimpleFileOptions::default()).unwrap();
    let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 28, 28, 1), }".to_string();
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
    zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    zip.write_all(header.as_bytes()).unwrap();
    zip.write_all(&[0; 784 * 4]).unwrap();
    zip.finish().unwrap().into_inner()
}
