//! `evaluate` as a user runs it: each metric detects the fault that it is meant for, and real images
//! pass all metrics.

use crate::common::run::{copy, idx, mnist};
use crate::common::small::small;
use crate::harness::{EVALUATE, command, succeeds, text, train};
use degrain::data::{Dataset, Split, images_of_npz, load};
use degrain::evaluate::Evaluation;
use degrain::evaluate::evaluation::{BrightnessPair, Quality};
use degrain::metrics::feature_extractor::FeatureExtractor;
use degrain::metrics::subset::subset;
use degrain::output::{Images, npz};
use degrain::train::Settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// Training and test images of the small data set: the first ones of MNIST.
const COUNTS: [usize; 2] = [3_000, 1_500];
/// Number of images that are evaluated instead of samples: training images of MNIST outside the
/// small data set.
const SAMPLES: usize = 1_000;

/// Folders that all tests share: `data`, its feature extractor `extractor`, and `features`.
fn shared() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for (split, name, count) in [(Split::Train, "train", COUNTS[0]), (Split::Test, "t10k", COUNTS[1])] {
            let all = load(&mnist(), split).unwrap();
            let labels: Vec<u8> = all.labels[..count].iter().map(|&label| label as u8).collect();
            let images = idx(&[count as u32, 28, 28], &all.images[..count * 784]);
            fs::write(data.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
            fs::write(data.join(format!("{name}-labels-idx1-ubyte")), idx(&[count as u32], &labels)).unwrap();
        }
        // The feature extractor of MNIST, relabeled for these files.
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/feature-extractor");
        let to = folder.path().join("extractor");
        copy(&from, &to);
        let metadata = fs::read_to_string(to.join("degrain.json")).unwrap();
        let sum = load(&data, Split::Train).unwrap().sha256();
        let relabeled = metadata.replace("\"MNIST\"", &format!("\"idx\", \"data_sha256\": \"{sum}\""));
        fs::write(to.join("degrain.json"), relabeled).unwrap();
        folder
    };
    FOLDER.get_or_init(make).path()
}

fn full() -> &'static Dataset {
    static DATA: OnceLock<Dataset> = OnceLock::new();
    DATA.get_or_init(|| load(&mnist(), Split::Train).unwrap())
}

/// Training images of MNIST by number, and their labels.
pub fn chosen(numbers: impl Iterator<Item = usize>) -> (Vec<u8>, Vec<u32>) {
    let (mut bytes, mut labels) = (vec![], vec![]);
    for number in numbers {
        bytes.extend(full().image(number));
        labels.push(full().labels[number]);
    }
    (bytes, labels)
}

pub fn save(path: &Path, bytes: &[u8], labels: Option<&[u32]>) {
    npz::save_npz(path, &Images::new(bytes, [bytes.len() / 784, 1, 28, 28]), labels).unwrap();
}

/// Arguments for the small data set.
pub fn inputs<'a>(shared: &'a [String; 3], out: &'a str) -> Vec<&'a str> {
    let [data, extractor, features] = shared;
    vec![
        "--data",
        data,
        "--feature-extractor",
        extractor,
        "--feature-cache",
        features,
        "--out",
        out,
        "--nearest-count",
        "300",
    ]
}

pub fn places() -> [String; 3] {
    ["data", "extractor", "features"].map(|part| shared().join(part).to_str().unwrap().to_string())
}

#[track_caller]
fn evaluated(what: [&str; 2], more: &[&str]) -> Evaluation {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let out = folder.path().join("evaluation");
    // Folders of the user whose names evaluations use or used.
    let others = ["classifier", "drawing", "sample_cache"].map(|name| out.join(name));
    others.iter().for_each(|other| fs::create_dir_all(other).unwrap());
    // A killed evaluation left the run folder of a classifier.
    fs::create_dir_all(out.join(".classifier.7-7-0.tmp/checkpoint-1")).unwrap();
    fs::write(others[0].join("model.bin"), "mine").unwrap();
    let arguments = [&what[..], &inputs(&places, text(&out)), more].concat();
    let table = succeeds(command(EVALUATE, &arguments));
    let json = fs::read_to_string(out.join("evaluation.json")).unwrap();
    let evaluation: Evaluation = serde_json::from_str(&json).unwrap();
    assert!(table.contains(&format!("{:.3}", evaluation.quality.fd_train)), "the table has the numbers: {table}");
    for picture in ["grid.png", "closest.png"] {
        assert!(out.join(picture).is_file(), "{picture}");
    }
    assert!(others.iter().all(|other| other.is_dir()), "a folder of the user was removed");
    assert_eq!(fs::read(others[0].join("model.bin")).unwrap(), b"mine");
    let hidden = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hidden: Vec<String> = hidden.filter(|name| name.starts_with('.') && name != ".lock").collect();
    assert_eq!(hidden, [""; 0], "temporary files are left");
    evaluation
}

/// An evaluation of images, with or without their classes.
#[track_caller]
fn evaluate_images(bytes: &[u8], labels: Option<&[u32]>) -> Evaluation {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("samples.npz");
    save(&path, bytes, labels);
    let more: &[&str] = if labels.is_some() { &["--cas-steps", "150"] } else { &[] };
    evaluated(["--samples", text(&path)], more)
}

#[test]
fn evaluation_of_real_images_passes_every_metric() {
    let (bytes, labels) = chosen(20_000..20_000 + SAMPLES);
    let real = evaluate_images(&bytes, Some(&labels));
    let quality = &real.quality;
    assert!(quality.fd_test < 1.5 * quality.fd_reference, "{quality:?}");
    assert!(quality.kid.value < 0.05 && quality.kid_reference.value < 0.05, "{quality:?}");
    assert!(quality.precision > 0.85 && quality.recall > 0.85, "{quality:?}");
    let BrightnessPair { samples, test } = real.brightness.unwrap();
    assert_eq!(samples.mean, bytes.iter().map(|&byte| f64::from(byte)).sum::<f64>() / bytes.len() as f64);
    assert!((samples.mean / test.mean - 1.0).abs() < 0.2 && samples.bright_corners < 1e-3, "{:?}", real.brightness);
    let accuracy = real.classes.accuracy.unwrap();
    assert!(accuracy.share() > 0.98 && accuracy.low < accuracy.share() && accuracy.share() <= accuracy.high);
    // The classifier trains on a thousand images for 150 steps.
    let score = real.classes.classification_accuracy_score.unwrap();
    let reference = real.classes.classification_accuracy_reference.unwrap();
    assert!(score.share() > 0.85 && (score.share() - reference.share()).abs() < 0.05, "{:?}", real.classes);
    assert_ne!(score, reference, "of other images");
    assert!(real.memorization.pixels.near_duplicates.low < 0.02, "{:?}", real.memorization);
    assert!(real.likelihood.is_empty() && real.cost.is_none());
    assert!(real.classes.balance_with_classes.is_none(), "the labels of a file may have any shares");
    let unlabeled = evaluate_images(&bytes, None);
    assert!(unlabeled.classes.balance.as_ref().unwrap().p_value > 1e-3);
    // Labels only change the standard error and the reference: samples with labels have given numbers
    // of each class.
    let [of_labeled, of_unlabeled] = [&real, &unlabeled].map(|images| images.quality.fd_test_error.unwrap());
    assert!(
        0.0 < of_labeled && of_labeled < of_unlabeled && of_unlabeled < quality.fd_test,
        "{of_labeled} {of_unlabeled}"
    );
    let Quality { fd_reference, kid_reference, .. } = *quality;
    assert!(fd_reference < unlabeled.quality.fd_reference, "{fd_reference} {:?}", unlabeled.quality);
    let without = Quality { fd_test_error: Some(of_labeled), fd_reference, kid_reference, ..unlabeled.quality };
    assert_eq!(without, real.quality);
}

/// The grid, which is made after all measurements, needs no image of the other classes.
#[test]
fn evaluation_of_images_of_some_classes_is_written() {
    let [threes, eights] = [3, 8].map(|class| (0..).filter(move |&k| full().labels[k] == class));
    let (bytes, labels) = chosen(threes.take(50).chain(eights.take(30)));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("samples.npz");
    save(&path, &bytes, Some(&labels));
    let found = evaluated(["--samples", text(&path)], &["--cas-steps", "0"]);
    let counts: Vec<u32> = found.classes.accuracy_by_class.iter().map(|accuracy| accuracy.count).collect();
    assert_eq!(counts, [0, 0, 0, 50, 0, 0, 0, 0, 30, 0]);
}

#[test]
fn feature_extractor_matches_its_readme() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/feature-extractor");
    let extractor = FeatureExtractor::open(&folder).unwrap();
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains(&extractor.sha256), "{}", extractor.sha256);
    assert!(readme.contains("64 features") && extractor.width() == 64);
}

#[test]
fn reference_fd_is_the_distance_of_training_images() {
    let numbers = subset(COUNTS[0], SAMPLES, [1_000, 0], 0);
    // MNIST alternates between two groups of writers, so an even stride would take only one of
    // them.
    let even = numbers.iter().filter(|number| number.is_multiple_of(2)).count();
    assert!((400..600).contains(&even), "{even} of {SAMPLES}");
    let copies = evaluate_images(&chosen(numbers.into_iter()).0, None);
    assert_eq!(copies.quality.kid, copies.quality.kid_reference);
    // All subsets of as many images as there are, up to their order.
    let all = evaluate_images(&chosen(0..COUNTS[0]).0, None).quality;
    assert!((all.fd_test / all.fd_reference - 1.0).abs() < 1e-6, "{all:?}");
}

#[test]
fn frechet_distance_of_blurred_images_is_large() {
    let (mut bytes, labels) = chosen(20_000..20_000 + SAMPLES);
    for image in bytes.chunks_mut(784) {
        let sharp = image.to_vec();
        // The mean of a pixel and its neighbors to the right and below.
        for (at, pixel) in image.iter_mut().enumerate().take(784 - 29) {
            let four = [at, at + 1, at + 28, at + 29].map(|at| u32::from(sharp[at]));
            *pixel = (four.iter().sum::<u32>() / 4) as u8;
        }
    }
    let blurred = evaluate_images(&bytes, Some(&labels));
    assert!(blurred.quality.fd_test > 3.0 * blurred.quality.fd_reference, "{:?}", blurred.quality);
    let kid = blurred.quality.kid;
    assert!(kid.value > 10.0 * kid.error, "{kid:?}");
}

#[test]
fn class_balance_detects_a_missing_class() {
    let (bytes, _) = chosen((20_000..).filter(|&number| full().labels[number] != 7).take(SAMPLES));
    let balance = evaluate_images(&bytes, None).classes.balance.unwrap();
    assert!(balance.p_value < 1e-9 && balance.counts[7] < 10, "{balance:?}");
}

#[test]
fn memorization_detects_copied_training_images() {
    let copies = evaluate_images(&chosen(0..SAMPLES).0, None);
    for nearest in [&copies.memorization.pixels, &copies.memorization.features] {
        assert_eq!((nearest.samples.min, nearest.samples.quartile_3), (0.0, 0.0), "{nearest:?}");
        assert!(nearest.near_duplicates.low > 0.9 && nearest.test.median > 0.0, "{nearest:?}");
    }
    assert!(
        copies.quality.fd_test < 1.5 * copies.quality.fd_reference,
        "distances of distributions do not detect copies"
    );
}

#[test]
fn class_accuracy_detects_wrong_classes() {
    let (bytes, mut labels) = chosen(20_000..20_000 + SAMPLES);
    labels.rotate_right(1);
    let accuracy = evaluate_images(&bytes, Some(&labels)).classes.accuracy.unwrap();
    assert!(accuracy.high < 0.2, "{accuracy:?}");
}

/// Trains one step on the small data set.
pub fn untrained(preset: &str, out: &Path, options: &[&str]) {
    let settings = Settings {
        data: Some(shared().join("data")),
        feature_extractor: Some(shared().join("extractor")),
        out: Some(out.into()),
        batch: Some(8),
        validation_count: Some(16),
        steps: Some(1),
        sampling_steps: Some(2),
        ..small(preset)
    };
    succeeds(train(&settings, options));
}

#[test]
fn evaluation_of_an_untrained_model_fails_every_metric() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("untrained");
    untrained("ddpm", &run, &["--evaluate-every", "1", "--evaluate-count", "80"]);
    // The evaluation during training.
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let line = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let last = line.rev().find(|line| line.get("frechet_distance").is_some()).expect("a line of the evaluation");
    let bits = ["bits_per_dim", "training_bits_per_dim"].map(|name| last[name].as_f64().unwrap());
    assert!(
        bits[0] > 2.0 && bits[1] > 2.0 && bits[0] != bits[1] && last["frechet_distance"].as_f64().unwrap() > 50.0,
        "{last}"
    );
    for curve in ["bits_per_dim.png", "bits_per_dim.svg", "frechet_distance.png", "frechet_distance.svg", "loss.svg"] {
        assert!(run.join(curve).is_file(), "{curve}");
    }

    let archive = folder.path().join("samples.npz");
    let more = ["--count", "100", "--likelihood-images", "8", "--cas-steps", "5", "--save-samples", text(&archive)];
    // TOML, in which the settings of the classifiers are written, has no number as large.
    let seed = ["--seed", "18446744073709551615"];
    // More steps than the main samples, without and with guidance.
    let sweep = ["--sweep", "ddim:1,ddpm:5:1,ddim:3:3", "--sweep-count", "130", "--guidance-interval", "0.3,5"];
    let untrained = evaluated(["--checkpoint", text(&run)], &[&more[..], &seed, &sweep].concat());
    assert!(untrained.quality.fd_test > 20.0 * untrained.quality.fd_reference, "{:?}", untrained.quality);
    assert!(untrained.quality.precision < 0.2, "{:?}", untrained.quality);
    assert_eq!(untrained.sampling.settings, "guidance_interval 0.3 to 5, eta 1.0");
    assert!(untrained.brightness.unwrap().samples.bright_corners > 0.1, "{:?}", untrained.brightness);
    assert!(untrained.classes.accuracy.unwrap().high < 0.5, "{:?}", untrained.classes);
    assert!(untrained.classes.balance.as_ref().unwrap().p_value < 1e-3, "{:?}", untrained.classes);
    assert!(untrained.likelihood.iter().all(|bits| bits.total.value > 2.0), "{:?}", untrained.likelihood);
    assert_eq!(
        untrained.likelihood[1].parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["L_T", "sum of L_t", "L_0"]
    );
    let cost = untrained.cost.unwrap();
    assert!(cost.flops_per_image > 1_000_000 && cost.flops_per_training_image > 2 * cost.flops_per_image, "{cost:?}");
    // The weights alone take 4 bytes per parameter; training also stores gradients and moments.
    assert!(cost.training_seconds > 0.0 && cost.sampling_bytes > 4 * untrained.target.parameters, "{cost:?}");
    assert!(cost.training_bytes > 16 * untrained.target.parameters, "parameters, gradients, moments: {cost:?}");
    let sweep: Vec<_> =
        untrained.sweep.iter().map(|point| (point.sampler.as_str(), point.steps, point.count)).collect();
    assert_eq!(sweep, [("ddim", 1, 130), ("ddpm", 5, 130), ("ddim", 3, 130)]);
    // The archive contains the evaluated samples.
    let again = evaluated(["--samples", text(&archive)], &[&seed[..], &["--cas-steps", "0"]].concat());
    assert_eq!(again.quality, untrained.quality);
    assert_eq!(again.classes.accuracy, untrained.classes.accuracy);
}

/// An evaluation that is killed while it samples and then started again reads the finished samples
/// from the disk. The other samples equal the ones of an uninterrupted evaluation.
#[test]
fn evaluation_resumes_after_an_interruption() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let run = folder.path().join("run");
    untrained("ddpm", &run, &[]);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let arguments = |out: &str| -> Vec<String> {
        let archive = format!("{out}.npz");
        let more = ["--checkpoint", text(&run), "--count", "120", "--batch", "8", "--save-samples", &archive];
        let rest = ["--likelihood-images", "0", "--cas-steps", "0", "--balance-count", "0", "--steps", "10"];
        [&inputs(&places, out)[..], &more, &rest].concat().iter().map(|part| part.to_string()).collect()
    };
    let execute = |out: &str| {
        let arguments = arguments(out);
        succeeds(command(EVALUATE, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        images_of_npz(Path::new(&format!("{out}.npz")), [1, 28, 28], 10).unwrap().0
    };
    let (whole, broken) = (path("whole"), path("broken"));
    let expected = execute(&whole);

    let mut child = Command::new(EVALUATE)
        .args(arguments(&broken))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Eight bytes for the seconds of a batch, and its images.
    let record = 8 + 8 * 784;
    let file = loop {
        let entries = fs::read_dir(&broken).into_iter().flatten().map(|entry| entry.unwrap().path());
        let is_cache =
            |path: &PathBuf| path.file_name().is_some_and(|name| text(Path::new(name)).starts_with(".samples-"));
        match entries.into_iter().find(is_cache) {
            Some(file) if fs::metadata(&file).unwrap().len() >= record => break file,
            _ => assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed"),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let mut cached = fs::read(&file).unwrap();
    assert!((cached.len() as u64) < 15 * record, "sampling was not finished");
    // Mark the first batch, to see where it is read from, and append a part of a record, as a
    // killed process may leave it.
    cached[8..record as usize].fill(255);
    cached.extend([7; 100]);
    fs::write(&file, cached).unwrap();
    let images = execute(&broken);
    assert!(images[..8 * 784].iter().all(|&byte| byte == 255), "the first batch comes from the disk");
    assert_eq!(images[8 * 784..], expected[8 * 784..]);
    assert!(!file.exists(), "the cache is removed");
}

#[test]
fn likelihood_of_flows_and_autoencoders_is_measured() {
    let folder = TempDir::new().unwrap();
    for (preset, what) in [("flow", "probability flow"), ("vae", "importance-weighted")] {
        let run = folder.path().join(preset);
        untrained(preset, &run, &[]);
        let more = ["--count", "80", "--steps", "2", "--likelihood-images", "4", "--cas-steps", "0", "--batch", "8"];
        let more: Vec<&str> =
            if preset == "vae" { more[..2].iter().chain(&more[4..]).copied().collect() } else { more.to_vec() };
        if preset == "vae" {
            for (asked, components) in [("0", 0), ("3", 3)] {
                let other = evaluated(
                    ["--checkpoint", text(&run)],
                    &[&["--count", "80", "--likelihood-images", "0", "--latent-components", asked], &more[4..]]
                        .concat(),
                );
                assert_eq!(other.sampling.latent_components, components);
            }
        }
        // The sampler that chooses its steps does not get those of the main samples.
        let sweep = ["--sweep", "ode,ode::2", "--sweep-count", "80"];
        let evaluation = match preset {
            "vae" => evaluated(["--checkpoint", text(&run)], &more),
            _ => evaluated(["--checkpoint", text(&run)], &[&more[..], &sweep].concat()),
        };
        let points: Vec<_> = evaluation.sweep.iter().map(|point| (point.steps, point.guidance)).collect();
        assert_eq!(points, if preset == "vae" { vec![] } else { vec![(0, 1.5), (0, 2.0)] });
        assert_eq!(evaluation.sampling.latent_components, if preset == "vae" { 50 } else { 0 });
        assert_eq!(evaluation.likelihood.iter().map(|bits| bits.split.as_str()).collect::<Vec<_>>(), ["train", "test"]);
        for bits in &evaluation.likelihood {
            assert!(bits.method.contains(what) && bits.total.value > 1.967 && bits.images == 4, "{bits:?}");
        }
    }
}

#[test]
fn compare_writes_a_page_of_two_runs() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let mut runs: Vec<PathBuf> = vec![];
    for name in ["one", "two"] {
        let run = folder.path().join(name);
        untrained("vae", &run, &["--seed", if name == "one" { "1" } else { "2" }]);
        let [data, extractor, features] = &places;
        let inputs = ["--data", data, "--feature-extractor", extractor, "--feature-cache", features];
        let few = ["--count", "80", "--likelihood-images", "4", "--nearest-count", "20"];
        succeeds(command(EVALUATE, &[&["--checkpoint", text(&run)], &inputs[..], &few].concat()));
        runs.push(run);
    }
    let page = folder.path().join("page.html");
    let [one, two] = [0, 1].map(|run| runs[run].to_str().unwrap());
    succeeds(command(EVALUATE, &["--compare", one, two, "--page", text(&page)]));
    let html = fs::read_to_string(&page).unwrap();
    for run in &runs {
        let json = fs::read_to_string(run.join("evaluation/evaluation.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let distance = value["quality"]["fd_test"].to_string();
        assert!(html.contains(&format!("data-value=\"{distance}\"")), "{distance} is on the page");
    }
}

/// A cache of features is optional. What is not known about images from a file is left out.
#[test]
fn evaluation_of_images_needs_no_cache_and_shows_no_zeros() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let [data, extractor, _] = &places;
    let samples = folder.path().join("samples.npz");
    let (bytes, _) = chosen(0..100);
    save(&samples, &bytes, None);
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let cache = file.join("cache");
    let out = folder.path().join("out");
    let inputs = ["--feature-extractor", extractor, "--feature-cache", text(&cache), "--out", text(&out)];
    let what = ["--samples", text(&samples), "--data", data, "--nearest-count", "20"];
    let output = command(EVALUATE, &[&what[..], &inputs].concat()).output().unwrap();
    let [table, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{told}");
    assert!(told.contains("warning: the features are not kept") && told.contains(text(&file)), "{told}");
    for absent in ["training steps", "0.0 s", "Cost"] {
        assert!(!table.contains(absent), "{absent:?} is in {table}");
    }
}

#[test]
fn evaluation_computes_damaged_features_again() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let [data, extractor, _] = &places;
    let samples = folder.path().join("samples.npz");
    save(&samples, &chosen(0..100).0, None);
    let cache = folder.path().join("cache");
    let evaluate = |out: &str| {
        let out = folder.path().join(out);
        let inputs = ["--feature-extractor", extractor, "--feature-cache", text(&cache), "--out", text(&out)];
        let what = ["--samples", text(&samples), "--data", data, "--nearest-count", "20"];
        let output = command(EVALUATE, &[&what[..], &inputs].concat()).output().unwrap();
        let [table, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{told}");
        (table, told)
    };
    let (first, _) = evaluate("first");
    let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (again, told) = evaluate("again");
    assert!(told.contains("warning: ") && told.contains(text(&file)) && told.contains("computed again"), "{told}");
    assert_eq!(fs::read(&file).unwrap(), whole, "the file is whole again");
    let numbers = |table: &str| table.lines().filter(|line| line.contains("FD")).map(String::from).collect::<Vec<_>>();
    assert_eq!((numbers(&again), numbers(&again).len()), (numbers(&first), 3));
}

/// A model without a run has no training time.
#[test]
fn evaluation_of_a_checkpoint_alone_shows_no_training_cost() {
    let (folder, places) = (TempDir::new().unwrap(), places());
    let [data, extractor, features] = &places;
    let run = folder.path().join("run");
    untrained("vae", &run, &[]);
    let alone = folder.path().join("alone");
    copy(&run.join("checkpoint-1"), &alone);
    let inputs = ["--data", data, "--feature-extractor", extractor, "--feature-cache", features, "--batch", "8"];
    let few = ["--count", "80", "--likelihood-images", "1", "--nearest-count", "20"];
    // Shells complete the name of a folder with a slash.
    let completed = format!("{}/", text(&alone));
    let table = succeeds(command(EVALUATE, &[&["--checkpoint", &completed], &inputs[..], &few].concat()));
    assert!(folder.path().join("alone.evaluation").is_dir(), "the results are not next to the checkpoint");
    assert!(table.contains("1 training step\n") && table.contains("train (1 image)"), "{table}");
    for absent in ["per training step", "training 0", "0.0 images/s"] {
        assert!(!table.contains(absent), "{absent:?} is in {table}");
    }
}
