//! What bad input gets where models and samplers meet: a sampler for another process, a classifier for other data, a mask of another size, a
//! schedule that ends in pure noise with epsilon, a solver out of steps. One message that names the cause, exit code 1, and nothing written.

use crate::common::run::{digits, files, idx, mnist};
use degrain::output::Picture;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

const TRAIN: &str = env!("CARGO_BIN_EXE_train");
const SAMPLE: &str = env!("CARGO_BIN_EXE_sample");
const EDIT: &str = env!("CARGO_BIN_EXE_edit");

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs a program that must refuse.
#[track_caller]
fn refused(program: &str, arguments: &[&str], parts: &[&str]) {
    let output = command(program, arguments).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
    let lines = errors.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(lines, 1, "{arguments:?}: one message, not {errors:?}");
    parts.iter().for_each(|part| assert!(errors.contains(part), "{arguments:?}: {errors:?} does not say {part:?}"));
}

/// A run of one step of each preset that is asked for, in one folder.
fn trained(preset: &str) -> PathBuf {
    static RUNS: OnceLock<TempDir> = OnceLock::new();
    let folder = RUNS.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        for preset in ["ddpm", "flow", "edm", "vae", "classifier"] {
            let out = folder.path().join(preset);
            let output = command(TRAIN, &small(preset, digits(), &out, &["--stop-after", "1"])).output().unwrap();
            assert!(output.status.success(), "{preset}: {}", String::from_utf8_lossy(&output.stderr));
        }
        folder
    });
    folder.path().join(preset)
}

fn small<'a>(preset: &'a str, data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut all =
        vec!["--preset", preset, "--size", "tiny", "--data", data.to_str().unwrap(), "--out", out.to_str().unwrap()];
    all.extend(["--norm-num-groups", "4", "--batch", "4"]);
    all.extend(["--validation-count", "4", "--steps", "20", "--warmup", "1"]);
    let given = |option: &&str| more.contains(option);
    for pair in [
        ["--timesteps", "50"],
        ["--sampling-steps", "3"],
        ["--block-out-channels", "8,8"],
        ["--attention", "false,false"],
    ] {
        if !given(&pair[0]) {
            all.extend(pair);
        }
    }
    all.extend(more);
    all
}

#[track_caller]
fn train_refuses(preset: &str, more: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    refused(TRAIN, &small(preset, digits(), &out, more), parts);
    assert!(!out.exists(), "{more:?}: something is left");
}

#[track_caller]
fn refuses(program: &str, run: &str, task: &[&str], more: &[&str], parts: &[&str]) {
    let place = TempDir::new().unwrap();
    let (run, out) = (trained(run), place.path().join("out.png"));
    let arguments = [task, &["--checkpoint", run.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat();
    refused(program, &arguments, parts);
    assert_eq!(files(place.path()), [], "{more:?}: something was written");
}

#[test]
fn settings_that_do_not_go_together() {
    train_refuses("ddpm", &["--zero-terminal-snr", "--prediction", "epsilon"], &["zero terminal", "v_prediction"]);
    train_refuses("ddpm", &["--sampler", "euler_maruyama"], &["sampling-steps", "euler_maruyama", "discrete"]);
    train_refuses("score", &["--sampler", "ddim"], &["ddim", "stochastic differential equation"]);
    train_refuses("flow", &["--loss-weighting", "likelihood"], &["likelihood", "stochastic differential equation"]);
    train_refuses("edm", &["--learned-variance"], &["--learned-variance", "discrete", "edm"]);
    train_refuses("hybrid", &["--dropout", "1.5"], &["--dropout 1.5"]);
    train_refuses("vae", &["--kl-weight", "-1"], &["--kl-weight -1"]);
    train_refuses(
        "plain",
        &["--block-out-channels", "8,8,8,8", "--attention", "false,false,false,false"],
        &["multiples of 8"],
    );
}

#[test]
fn samplers_of_another_process() {
    for sampler in ["ddpm", "ddim", "euler_maruyama", "predictor_corrector", "dpm_solver"] {
        refuses(SAMPLE, "flow", &[], &["--sampler", sampler, "--count", "2"], &[sampler, "flow matching"]);
    }
    refuses(
        SAMPLE,
        "ddpm",
        &[],
        &["--sampler", "midpoint", "--count", "2"],
        &["midpoint", "flow matching", "discrete"],
    );
    refuses(SAMPLE, "edm", &[], &["--sampler", "ddim", "--count", "2"], &["ddim", "EDM"]);
    let learned = ["--sampler", "ddpm", "--variance", "learned_range", "--count", "2"];
    refuses(SAMPLE, "ddpm", &[], &learned, &["learned_range", "hybrid"]);
    refuses(SAMPLE, "vae", &[], &["--steps", "5"], &["--steps", "autoencoder"]);
    refuses(SAMPLE, "classifier", &[], &[], &["Classifier", "no denoiser"]);
    refuses(SAMPLE, "flow", &[], &["--sampler", "ode", "--rtol", "-1", "--count", "2"], &["rtol"]);
}

#[test]
fn classifiers_that_do_not_belong() {
    let vae = trained("vae");
    refuses(SAMPLE, "ddpm", &[], &["--classifier", vae.to_str().unwrap()], &["Vae", "--preset classifier"]);
    let judge = trained("classifier");
    let noise = ["--classifier", judge.to_str().unwrap(), "--count", "2"];
    refuses(SAMPLE, "flow", &[], &noise, &["another process", "flow", "--noise-aware false"]);
    // Of clean images, one guides along any process.
    let folder = TempDir::new().unwrap();
    let (clean, out) = (folder.path().join("clean"), folder.path().join("out.png"));
    let arguments = small("classifier", digits(), &clean, &["--noise-aware", "false", "--stop-after", "1"]);
    assert!(command(TRAIN, &arguments).output().unwrap().status.success());
    for (model, judge) in [("flow", &clean), ("ddpm", &clean), ("ddpm", &judge)] {
        let model = trained(model);
        let [model, judge, out] = [&model, judge, &out].map(|path| path.to_str().unwrap());
        let arguments = ["--checkpoint", model, "--classifier", judge, "--count", "2", "--out", out];
        let output = command(SAMPLE, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Labels of three classes.
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), idx(&[24, 28, 28], &[7; 24 * 784])).unwrap();
    let labels: Vec<u8> = (0..24).map(|k| k % 3).collect();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[24], &labels)).unwrap();
    let out = folder.path().join("run");
    let arguments = small("classifier", folder.path(), &out, &["--stop-after", "1"]);
    assert!(command(TRAIN, &arguments).output().unwrap().status.success());
    refuses(SAMPLE, "ddpm", &[], &["--classifier", out.to_str().unwrap()], &["3 classes", "10 classes", "same data"]);
}

#[test]
fn images_and_masks_of_another_size() {
    let folder = TempDir::new().unwrap();
    let picture = |name: &str, height: usize, width: usize, channels: usize| {
        let path = folder.path().join(name);
        let picture = Picture { height, width, channels, bytes: vec![255; height * width * channels] };
        picture.save_png(&path, &[]).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (large, colour, fits) = (picture("a.png", 32, 28, 1), picture("b.png", 28, 28, 3), picture("c.png", 28, 28, 1));
    let data = mnist();
    let data = ["--data", data.to_str().unwrap()];
    let task = &["inpaint"][..];
    refuses(EDIT, "ddpm", task, &[&data[..], &["--mask", &large]].concat(), &["a.png", "mask", "32x28", "28x28"]);
    refuses(EDIT, "ddpm", task, &[&data[..], &["--mask", &colour]].concat(), &["b.png", "3 channels"]);
    refuses(EDIT, "ddpm", task, &["--mask", &fits, "--image", &large], &["a.png", "image", "32x28"]);
    let past = ["--mask", &fits, "--index", "10000"];
    refuses(EDIT, "ddpm", task, &[&data[..], &past].concat(), &["10000"]);
    refuses(EDIT, "ddpm", &["interpolate"], &["--columns", "1"], &["--columns"]);
    refuses(EDIT, "vae", &["invert"], &data, &["no denoiser"]);
}
