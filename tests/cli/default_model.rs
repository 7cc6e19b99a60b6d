//! The model that `sample` and `edit` use without `--checkpoint`.

use crate::common::run::{copy, mnist};
use crate::harness::{EDIT, SAMPLE, command, fails, messages, text, trained};
use degrain::cli::DEFAULT_MODEL;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A command in another folder.
fn command_in(folder: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = command(program, arguments);
    command.current_dir(folder);
    command
}

/// A folder with a model under the default's name: a checkpoint without the state of its training.
fn folder_with_model() -> TempDir {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join(DEFAULT_MODEL);
    copy(&trained("ddpm").join("checkpoint-1"), &model);
    fs::remove_file(model.join("training_state.safetensors")).unwrap();
    folder
}

#[test]
fn default_model_is_used_and_named() {
    let folder = folder_with_model();
    let mnist = mnist();
    for (program, arguments) in [
        (SAMPLE, &["--count", "2", "--steps", "10"][..]),
        (EDIT, &["interpolate", "--columns", "2", "--rows", "1", "--steps", "10"]),
        (EDIT, &["denoise", "--count", "1", "--steps", "2", "--data", text(&mnist)]),
    ] {
        let told = messages(command_in(folder.path(), program, arguments));
        let says = "no --checkpoint: using models/mnist-tiny, trained by degrain for 1 step on ";
        assert!(told.starts_with(says) && !told.contains("warning"), "{arguments:?}: {told}");
    }
    for name in ["samples.png", "interpolation.png", "denoising.png"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let named = ["--count", "1", "--steps", "1", "--checkpoint", DEFAULT_MODEL];
    let told = messages(command_in(folder.path(), SAMPLE, &named));
    assert!(!told.contains("no --checkpoint"), "{told}");
}

#[test]
fn default_model_without_metadata_is_named() {
    let folder = folder_with_model();
    fs::remove_file(folder.path().join(DEFAULT_MODEL).join("degrain.json")).unwrap();
    let few = ["--count", "1", "--steps", "2", "--null-class", "10"];
    let told = messages(command_in(folder.path(), SAMPLE, &few));
    assert!(told.starts_with("no --checkpoint: using models/mnist-tiny, not trained by degrain\n"), "{told}");
}

#[test]
fn default_model_that_is_missing_is_an_error_that_says_how_to_train_one() {
    let folder = TempDir::new().unwrap();
    for (program, task) in [
        (SAMPLE, &[][..]),
        (EDIT, &["denoise"]),
        (EDIT, &["interpolate"]),
        (EDIT, &["invert"]),
        (EDIT, &["inpaint", "--mask", "mask.png"]),
    ] {
        let parts =
            ["required arguments were not provided", "--checkpoint <CHECKPOINT>", "`make train`", DEFAULT_MODEL];
        fails(command_in(folder.path(), program, task), 2, &parts);
    }
    // The message about another option is not about models.
    let told = fails(command_in(folder.path(), EDIT, &["inpaint", "--checkpoint", "x"]), 2, &["--mask"]);
    assert!(!told.contains("make train"), "{told}");
    let model = folder.path().join(DEFAULT_MODEL);
    fs::create_dir_all(&model).unwrap();
    fails(command_in(folder.path(), SAMPLE, &[]), 1, &[DEFAULT_MODEL, "neither a diffusers folder"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "files were written");
}

/// Every bundled model samples, and none contains the state of its training, which is four times as
/// large as its weights.
#[test]
fn bundled_models_sample_and_have_no_training_state() {
    let folder = TempDir::new().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut count = 0;
    for model in fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(!model.join("training_state.safetensors").exists(), "{} has a training state", model.display());
        let readme = fs::read_to_string(model.join("README.md")).unwrap();
        assert!(readme.contains("train --") && readme.contains("commit"), "{}: how was it made?", model.display());
        let out = folder.path().join("samples.png");
        let few = ["--checkpoint", text(&model), "--count", "1", "--steps", "1", "--out", text(&out)];
        let told = messages(command_in(folder.path(), SAMPLE, &few));
        assert!(!told.contains("warning"), "{told}");
        count += 1;
    }
    assert!(count > 0, "no bundled model");
}
