//! `sample`: damaged checkpoints, options that do not fit the model, and classifiers for guidance.
//! The tests of the library cover every refusal of a file or a sampler; these tests cover one of
//! each kind.

use crate::common::golden;
use crate::common::run::{copy, idx};
use crate::common::small::small;
use crate::harness::{SAMPLE, TRAIN, command, fails, messages, refuses, succeeds, text, train, trained};
use degrain::data::images_of_npz;
use degrain::output::Picture;
use degrain::train::Settings;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// `sample` with few images and steps, unless the options say otherwise.
#[track_caller]
fn sample_refuses(checkpoint: &Path, options: &[&str], parts: &[&str]) {
    let mut all = options.to_vec();
    for few in [["--count", "2"], ["--steps", "2"]] {
        if !options.contains(&few[0]) {
            all.extend(few);
        }
    }
    refuses(SAMPLE, &[], checkpoint, &all, parts);
}

fn checkpoint() -> PathBuf {
    trained("ddpm").join("checkpoint-1")
}

/// `sample` of a damaged copy of a checkpoint, which must be refused.
#[track_caller]
fn damaged(damage: impl FnOnce(&Path), parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    copy(&checkpoint(), folder.path());
    damage(folder.path());
    sample_refuses(folder.path(), &[], parts);
}

fn replace(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// Renames a tensor of a checkpoint's weights.
fn rename_tensor(folder: &Path, old: &str, new: &str) {
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = file.iter().map(|(name, tensor)| if name == old { (new, tensor) } else { (name, tensor) });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn sample_refuses_damaged_checkpoints() {
    sample_refuses(Path::new("/nowhere"), &[], &["/nowhere", "no such folder"]);
    let empty = TempDir::new().unwrap();
    sample_refuses(empty.path(), &[], &["unet/config.json", "checkpoint-STEP"]);
    fs::copy(trained("ddpm").join("config.toml"), empty.path().join("config.toml")).unwrap();
    sample_refuses(empty.path(), &[], &["holds no checkpoint yet"]);
    fs::create_dir(empty.path().join("checkpoint-3")).unwrap();
    sample_refuses(empty.path(), &[], &["no complete checkpoint", "checkpoint-3 lacks degrain.json and its weights"]);
    let model = "unet/diffusion_pytorch_model.safetensors";
    damaged(
        |folder| {
            let bytes = fs::read(folder.join(model)).unwrap();
            fs::write(folder.join(model), &bytes[..bytes.len() - 100]).unwrap();
        },
        &[model, "cut short"],
    );
    damaged(|folder| fs::remove_file(folder.join(model)).unwrap(), &[model]);
    damaged(
        |folder| rename_tensor(folder, "conv_in.bias", "conv_in.bigotry"),
        &[model, "`conv_in.bias` is missing", "`conv_in.bigotry` is not a tensor of this model"],
    );
    let config = "unet/config.json";
    damaged(
        |folder| replace(&folder.join(config), "DownBlock2D", "SkipDownBlock2D"),
        &[config, "`down_block_types`", "SkipDownBlock2D", "AttnDownBlock2D"],
    );
    damaged(
        |folder| replace(&folder.join(config), r#""in_channels": 1"#, r#""in_channels": 2"#),
        &[config, "in_channels"],
    );
    damaged(|folder| replace(&folder.join(config), "{", ""), &[config, "JSON"]);
    damaged(|folder| fs::remove_file(folder.join(config)).unwrap(), &[config]);
    let scheduler = "scheduler/scheduler_config.json";
    damaged(
        |folder| replace(&folder.join(scheduler), "DDIMScheduler", "LCMScheduler"),
        &[scheduler, "LCM", "distilled"],
    );
    damaged(|folder| fs::remove_dir_all(folder.join("scheduler")).unwrap(), &[scheduler]);
    let metadata = "degrain.json";
    damaged(
        |folder| replace(&folder.join(metadata), r#""classes": 10"#, r#""classes": 12"#),
        &[metadata, "another model"],
    );
    damaged(
        |folder| replace(&folder.join(metadata), r#""class_names": ["#, r#""names": ["#),
        &[metadata, "class_names"],
    );
}

#[test]
fn sample_refuses_options_that_do_not_fit_the_model() {
    let folder = TempDir::new().unwrap();
    let noise = |name: &str, count: usize, value: f32| {
        let (path, values) = (folder.path().join(name), vec![value; count * 784]);
        let view = TensorView::new(Dtype::F32, vec![count, 1, 28, 28], bytemuck::cast_slice(&values)).unwrap();
        fs::write(&path, safetensors::serialize([("noise", view)], None).unwrap()).unwrap();
        text(&path).to_owned()
    };
    let (three, broken) = (noise("three.safetensors", 3, 0.5), noise("broken.safetensors", 2, f32::NAN));
    let two = noise("two.safetensors", 2, 0.5);
    for (options, parts) in [
        (&["--class", "10"][..], &["--class 10", "there are: 0, 1"][..]),
        (&["--class", "cat"], &["--class cat", "there are: 0, 1"]),
        (&["--steps", "0"], &["0 sampling steps", "1 to 50"]),
        (&["--steps", "51"], &["51 sampling steps", "1 to 50"]),
        (&["--count", "0"], &["--count"]),
        (&["--guidance", "-2"], &["guidance", "-2"]),
        (&["--eta", "2"], &["eta = 2"]),
        (&["--image-size", "0"], &["0x0", "at least 1"]),
        (&["--out", "samples.jpeg"], &["samples.jpeg", ".png, .apng or .npz"]),
        (&["--out", "/proc/nothing/samples.png"], &["/proc/nothing"]),
        (&["--noise", "/nowhere.safetensors"], &["/nowhere.safetensors"]),
        (&["--noise", &three], &["three.safetensors", "[3, 1, 28, 28]", "--count is 2", "--count 3"]),
        (&["--noise", &broken], &["broken.safetensors", "not finite"]),
        (&["--noise", &two, "--sampler", "ddim", "--seed", "1"], &["--seed has no effect", "--noise"]),
        (&["--noise", "Cargo.toml"], &["Cargo.toml", "not a safetensors"]),
        (&["--adapter", "99"], &["`99`", "there are:\n  0: "]),
        (&["--count", "70000", "--batch", "70000", "--guidance", "1"], &["batch size 70000", "65535"]),
    ] {
        sample_refuses(&checkpoint(), options, parts);
    }
    // A checkpoint of diffusers does not say whether its last class is the null class.
    let conditional = golden::path("unet_class");
    sample_refuses(&conditional, &["--guidance", "2"], &["--guidance 2", "--null-class", "no label"]);
    let unconditional = golden::path("unet_plain");
    sample_refuses(&unconditional, &["--guidance", "2"], &["--guidance 2", "without classes"]);
    sample_refuses(&unconditional, &["--class", "2"], &["--class 2", "without classes"]);
}

/// A trained autoencoder has the distribution of its latents, which its samples use. A run that was
/// killed before it was written writes it when it is resumed.
#[test]
fn samples_of_an_autoencoder_have_latents_from_the_mixture_of_its_run() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = Settings { out: Some(run.clone()), steps: Some(2), sample_every: Some(2), ..small("vae") };
    succeeds(train(&settings, &[]));
    let mixture = run.join("checkpoint-2/latent_mixture.safetensors");
    let fitted = fs::read(&mixture).unwrap();
    let grid = fs::read(run.join("samples/ema-000002.png")).unwrap();
    let drawn = |name: &str, options: &[&str], says: &str| {
        let out = folder.path().join(name);
        let arguments = ["--checkpoint", text(&run), "--count", "4", "--out", text(&out)];
        let told = messages(command(SAMPLE, &[&arguments, options].concat()));
        assert!(told.contains(says), "{told}");
        fs::read(out).unwrap()
    };
    let own = drawn("own.npz", &[], "latents from a mixture of 50 Gaussians");
    let normal = drawn("normal.npz", &["--normal-latents"], "latents from N(0, 1)");
    assert_ne!(own, normal);
    for file in [mixture.clone(), run.join("samples/ema-000002.png"), run.join("samples/raw-000002.png")] {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(drawn("without.npz", &[], "latents from N(0, 1)"), normal);

    let told = succeeds(command(TRAIN, &["--resume", text(&run)]));
    assert!(told.contains("fitting the distribution of the latents"), "{told}");
    assert!(fs::read(&mixture).unwrap() == fitted, "the fit does not depend on when it is made");
    assert!(fs::read(run.join("samples/ema-000002.png")).unwrap() == grid);
    // The grid is drawn from the file now, which is not fitted again.
    fs::remove_file(run.join("samples/raw-000002.png")).unwrap();
    let told = succeeds(command(TRAIN, &["--resume", text(&run)]));
    assert!(!told.contains("fitting"), "{told}");
    assert!(fs::read(run.join("samples/ema-000002.png")).unwrap() == grid);
    fs::write(&mixture, &fitted[..100]).unwrap();
    sample_refuses(&run, &[], &["latent_mixture.safetensors", "Remove the file"]);
    sample_refuses(&trained("ddpm"), &["--normal-latents"], &["--normal-latents has no effect", "autoencoder"]);
}

#[test]
fn sample_refuses_samplers_of_another_process() {
    for (preset, options, parts) in [
        ("flow", &["--sampler", "ddim"][..], &["ddim", "flow matching"][..]),
        ("ddpm", &["--sampler", "midpoint"], &["midpoint", "flow matching", "discrete"]),
        ("edm", &["--sampler", "ddim"], &["ddim", "EDM"]),
        ("ddpm", &["--sampler", "ddpm", "--variance", "learned_range"], &["learned_range", "hybrid"]),
        ("vae", &["--steps", "5"], &["--steps", "autoencoder"]),
        ("vae", &["--image-size", "28"], &["--image-size", "autoencoder"]),
        ("vae", &["--guidance-rescale", "0.5"], &["--guidance-rescale", "autoencoder"]),
        ("vae", &["--eta", "0.5"], &["--eta", "autoencoder"]),
        ("vae", &["--snr", "0.5"], &["--snr", "autoencoder"]),
        ("vae", &["--variance", "fixed_small"], &["--variance", "autoencoder"]),
        ("flow", &["--spacing", "trailing"], &["--spacing has no effect", "discrete"]),
        ("ddpm", &["--spacing", "trailing", "--sampler", "heun"], &["--spacing has no effect", "heun"]),
        (
            "ddpm",
            &["--guidance-rescale", "0.5", "--guidance", "1"],
            &["--guidance-rescale has no effect", "--guidance"],
        ),
        ("ddpm", &["--class", "3", "--guidance", "0"], &["--class 3 has no effect", "--guidance 0"]),
        ("classifier", &[], &["Classifier", "not a denoiser"]),
        ("ddpm", &["--class", "-1"], &["-1"]),
        ("flow", &["--sampler", "ode", "--rtol", "-1"], &["rtol"]),
    ] {
        refuses(SAMPLE, &[], &trained(preset), &[options, &["--count", "2"]].concat(), parts);
    }
}

#[test]
fn classifier_guidance_refuses_classifiers_of_other_models_and_data() {
    let guided_by = |model: &str, classifier: &Path, parts: &[&str]| {
        refuses(SAMPLE, &[], &trained(model), &["--classifier", text(classifier), "--count", "2"], parts);
    };
    guided_by("ddpm", &trained("vae"), &["Vae", "--preset classifier"]);
    let noise_aware = trained("classifier");
    guided_by("flow", &noise_aware, &["different processes", "flow", "--noise-aware false"]);

    // A copy whose degrain.json lacks a class.
    let folder = TempDir::new().unwrap();
    let torn = folder.path().join("torn");
    copy(&noise_aware.join("checkpoint-1"), &torn);
    let metadata = torn.join("degrain.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    json["class_names"].as_array_mut().unwrap().pop();
    fs::write(&metadata, json.to_string()).unwrap();
    guided_by("guided", &torn, &["10 classes", "names 9", "do not belong together"]);

    // A classifier of clean images guides every process.
    let (clean, out) = (folder.path().join("clean"), folder.path().join("out.png"));
    let settings = Settings { out: Some(clean.clone()), ..small("classifier") };
    succeeds(train(&settings, &["--noise-aware", "false", "--stop-after", "1"]));
    for (model, classifier) in [("flow", &clean), ("ddpm", &clean), ("guided", &noise_aware)] {
        let model = trained(model);
        let arguments = ["--checkpoint", text(&model), "--classifier", text(classifier), "--count", "2"];
        succeeds(command(SAMPLE, &[&arguments[..], &["--out", text(&out)]].concat()));
    }

    // A model from elsewhere says nothing of its data.
    let foreign = TempDir::new().unwrap();
    let out = foreign.path().join("run");
    let settings = Settings { out: Some(out.clone()), unconditional: Some(true), ..small("guided") };
    succeeds(train(&Settings { guidance: Some(1.0), ..settings }, &["--stop-after", "1"]));
    fs::remove_file(out.join("checkpoint-1/degrain.json")).unwrap();
    let checkpoint = out.join("checkpoint-1");
    let guided = ["--classifier", text(&noise_aware), "--count", "2", "--steps", "3", "--class"];
    let samples = foreign.path().join("out.png");
    let arguments = ["--checkpoint", text(&checkpoint), "--out", text(&samples)];
    let told = messages(command(SAMPLE, &[&arguments[..], &guided, &["3"]].concat()));
    for part in ["warning: ", "which data the model was trained on", "(10 classes)", "2 images, class 3,"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
    refuses(SAMPLE, &[], &checkpoint, &[&guided[..], &["10"]].concat(), &["--class 10", "there are: 0, 1"]);
    let smaller = [&guided[..], &["3", "--image-size", "16"]].concat();
    refuses(SAMPLE, &[], &checkpoint, &smaller, &["images of 1x28x28", "1x16x16"]);
    replace(
        &checkpoint.join("scheduler/scheduler_config.json"),
        "\"num_train_timesteps\": 50",
        "\"num_train_timesteps\": 60",
    );
    refuses(SAMPLE, &[], &checkpoint, &[&guided[..], &["3"]].concat(), &["different processes"]);

    // Labels of three classes.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), idx(&[24, 28, 28], &[7; 24 * 784])).unwrap();
    let labels: Vec<u8> = (0..24).map(|k| k % 3).collect();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[24], &labels)).unwrap();
    let out = folder.path().join("run");
    let three = Settings { data: Some(folder.path().into()), out: Some(out.clone()), ..small("classifier") };
    succeeds(train(&three, &["--stop-after", "1"]));
    guided_by("ddpm", &out, &["3 classes", "10 classes", "same data"]);
}

#[test]
fn sample_takes_the_count_of_the_noise_file() {
    let folder = TempDir::new().unwrap();
    let noise = folder.path().join("noise.safetensors");
    let values = vec![0.5f32; 3 * 784];
    let view = TensorView::new(Dtype::F32, vec![3, 1, 28, 28], bytemuck::cast_slice(&values)).unwrap();
    fs::write(&noise, safetensors::serialize([("noise", view)], None).unwrap()).unwrap();
    let out = folder.path().join("out.npz");
    let model = trained("ddpm");
    let arguments = ["--checkpoint", text(&model), "--noise", text(&noise), "--steps", "2", "--out", text(&out)];
    succeeds(command(SAMPLE, &arguments));
    let (images, labels) = images_of_npz(&out, [1, 28, 28], 10).unwrap();
    assert_eq!((images.len(), labels), (3 * 784, Some(vec![0, 1, 2])));
    fails(command(SAMPLE, &["--checkpoint", text(&model), "--classifier-scale", "2"]), 2, &["--classifier"]);
}

/// A number is the index of a class only if no class has a number as its name. The last checkpoint
/// of the run is not complete.
#[test]
fn sample_names_the_class_and_a_skipped_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&trained("ddpm"), &run);
    copy(&run.join("checkpoint-1"), &run.join("checkpoint-2"));
    fs::remove_file(run.join("checkpoint-2/degrain.json")).unwrap();
    let metadata = run.join("checkpoint-1/degrain.json");
    let with_names = |names: &str| {
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
        value["class_names"] = names.split(' ').collect();
        fs::write(&metadata, value.to_string()).unwrap();
    };
    with_names("0 1 3 4 5 6 7 8 9 10");
    sample_refuses(&run, &["--class", "2"], &["--class 2", "there are: 0, 1, 3, 4"]);
    with_names("a b c d e f g h i j");
    let out = folder.path().join("out.png");
    let few = ["--count", "1", "--steps", "2", "--out", text(&out), "--class", "7"];
    let told = messages(command(SAMPLE, &[&["--checkpoint", text(&run)], &few[..]].concat()));
    for part in ["1 image, class 7 (h),", "checkpoint-2: the checkpoint lacks degrain.json", "checkpoint-1 is used"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
}

#[test]
fn class_shares_are_those_of_the_training_images() {
    let folder = TempDir::new().unwrap();
    let copied = folder.path().join("checkpoint");
    copy(&checkpoint(), &copied);
    let metadata = copied.join("degrain.json");
    let with_counts = |counts: &[u64]| {
        let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
        value["class_counts"] = counts.into();
        fs::write(&metadata, value.to_string()).unwrap();
    };
    with_counts(&[0, 30, 0, 10, 0, 0, 0, 0, 0, 0]);
    let out = folder.path().join("out.npz");
    let options = ["--class-shares", "--count", "8", "--steps", "1", "--out", text(&out)];
    succeeds(command(SAMPLE, &[&["--checkpoint", text(&copied)], &options[..]].concat()));
    let (_, labels) = images_of_npz(&out, [1, 28, 28], 10).unwrap();
    assert_eq!(labels.unwrap(), [1, 1, 3, 1, 1, 1, 3, 1]);

    sample_refuses(&copied, &["--class-shares", "--guidance", "0"], &["--class-shares has no effect", "--guidance 0"]);
    with_counts(&[]);
    sample_refuses(&copied, &["--class-shares"], &["does not say how many training images"]);
}

#[test]
fn samples_without_labels_get_none_in_the_archive() {
    let folder = TempDir::new().unwrap();
    let labels = |options: &[&str]| {
        let out = folder.path().join("out.npz");
        let few = ["--count", "3", "--steps", "1", "--out", text(&out)];
        succeeds(command(SAMPLE, &[&["--checkpoint", text(&checkpoint())], &few[..], options].concat()));
        let (_, labels) = images_of_npz(&out, [1, 28, 28], 10).unwrap();
        fs::remove_file(&out).unwrap();
        labels
    };
    assert_eq!(labels(&[]), Some(vec![0, 1, 2]));
    assert_eq!(labels(&["--class", "7"]), Some(vec![7; 3]));
    assert_eq!(labels(&["--guidance", "0"]), None);
}

/// The columns of a grid are classes: 12 columns for 12 classes.
#[test]
fn grids_show_every_class() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let labels: Vec<u8> = (0..48).map(|k| k % 12).collect();
    let images: Vec<u8> = labels.iter().flat_map(|&label| vec![20 * label; 784]).collect();
    fs::write(data.join("train-images-idx3-ubyte"), idx(&[48, 28, 28], &images)).unwrap();
    fs::write(data.join("train-labels-idx1-ubyte"), idx(&[48], &labels)).unwrap();
    let run = folder.path().join("run");
    let settings =
        Settings { data: Some(data), out: Some(run.clone()), steps: Some(1), sample_every: Some(1), ..small("ddpm") };
    succeeds(train(&settings, &[]));
    let out = folder.path().join("out.png");
    let few = ["--count", "30", "--steps", "2", "--out", text(&out)];
    succeeds(command(SAMPLE, &[&["--checkpoint", text(&run)], &few[..]].concat()));
    // Cells of 56 pixels with padding 2.
    for (path, rows) in [(run.join("samples/ema-000001.png"), 4), (out, 3)] {
        let picture = Picture::load_png(&path).unwrap();
        assert_eq!([picture.width, picture.height], [12 * 58 + 2, rows * 58 + 2], "{}", path.display());
    }
}
