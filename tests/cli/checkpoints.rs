//! What the programs agree on: one sampler for one checkpoint, and which files a checkpoint has.

use crate::common::run::digits;
use degrain::checkpoint::noise;
use degrain::diffusion::interpolation::initial_noise;
use degrain::output::Picture;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const TRAIN: &str = env!("CARGO_BIN_EXE_train");
const SAMPLE: &str = env!("CARGO_BIN_EXE_sample");
const EDIT: &str = env!("CARGO_BIN_EXE_edit");

fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// What a program that must succeed prints to stderr.
#[track_caller]
fn succeeds(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    errors
}

/// A small model of a preset after two steps.
fn trained(preset: &str, folder: &Path) -> PathBuf {
    let out = folder.join(preset);
    let mut arguments = vec!["--preset", preset, "--size", "tiny", "--data", digits().to_str().unwrap()];
    arguments.extend(["--out", out.to_str().unwrap(), "--batch", "4", "--steps", "20", "--stop-after", "2"]);
    arguments.extend(["--warmup", "1", "--validation-count", "4", "--timesteps", "50", "--sampling-steps", "3"]);
    arguments.extend(["--norm-num-groups", "4", "--block-out-channels", "8,8", "--attention", "false,false"]);
    succeeds(TRAIN, &arguments);
    out
}

/// With two columns, every image of `edit interpolate` is the end of a row: the sample of one initial noise.
#[test]
fn edit_and_sample_draw_equal_images_from_equal_noise() {
    let folder = TempDir::new().unwrap();
    let run = trained("ddpm", folder.path());
    let [given, edited, sampled] =
        ["noise.safetensors", "edited.png", "sampled.png"].map(|name| folder.path().join(name));
    let all: Vec<f32> = (0..4).flat_map(|number| initial_noise(7, number, 28 * 28, 1.0)).collect();
    noise::write(&given, &all, [4, 1, 28, 28]).unwrap();

    let [run, given, edited_png, sampled_png] = [&run, &given, &edited, &sampled].map(|path| path.to_str().unwrap());
    let common = ["--checkpoint", run, "--class", "3", "--steps", "5", "--seed", "7", "--guidance", "1"];
    let edit = ["--columns", "2", "--rows", "2", "--out", edited_png];
    succeeds(EDIT, &[&["interpolate"][..], &common, &edit].concat());
    let sample = ["--sampler", "ddim", "--noise", given, "--count", "4", "--out", sampled_png];
    succeeds(SAMPLE, &[&common[..], &sample].concat());
    let [edited, sampled] = [&edited, &sampled].map(|path| Picture::load_png(path).unwrap().bytes);
    assert!(edited == sampled, "equal noise gives different images");
}

#[test]
fn scheduler_config_is_written_for_discrete_time_steps_only() {
    let folder = TempDir::new().unwrap();
    for (preset, discrete) in [("ddpm", true), ("flow", false), ("edm", false), ("score", false)] {
        let run = trained(preset, folder.path());
        let file = run.join("checkpoint-2/scheduler/scheduler_config.json");
        assert_eq!(file.exists(), discrete, "{preset}: {}", file.display());
        let out = folder.path().join("out.png");
        let arguments = ["--checkpoint", run.to_str().unwrap(), "--count", "2", "--out", out.to_str().unwrap()];
        let messages = succeeds(SAMPLE, &arguments);
        assert!(!messages.contains("warning"), "{preset}: {messages}");
    }
}

#[test]
fn checkpoint_of_the_first_edition_gets_one_message() {
    let folder = TempDir::new().unwrap();
    let run = trained("flow", folder.path());
    let first = r#"{"step": 2, "seconds": 1.5, "dataset": "idx", "class_names": ["0"], "labels": null,
        "process": {"name": "flow"}, "learned_variance": false, "decoder_deviation": 0.0, "sampling": null}"#;
    fs::write(run.join("checkpoint-2/degrain.json"), first).unwrap();
    let out = folder.path().join("out.png");
    let [run, out] = [&run, &out].map(|path| path.to_str().unwrap());
    for (program, arguments) in [
        (SAMPLE, vec!["--checkpoint", run, "--out", out]),
        (EDIT, vec!["interpolate", "--checkpoint", run, "--out", out]),
        (TRAIN, vec!["--resume", run]),
    ] {
        let output = output(program, &arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("degrain.json") && errors.contains("another version of degrain"), "{errors}");
    }
}
