//! Checkpoints as the programs read and write them: the same sampler in all programs, and the files
//! of a checkpoint.

use crate::common::run::copy;
use crate::harness::{EDIT, SAMPLE, TRAIN, command, fails, messages, succeeds, text, trained};
use degrain::checkpoint::noise;
use degrain::diffusion::interpolation::initial_noise;
use degrain::output::Picture;
use std::fs;
use tempfile::TempDir;

/// With two columns, every image of `edit interpolate` is an end of a row: the sample of one
/// initial noise.
#[test]
fn edit_and_sample_give_equal_images_from_equal_noise() {
    let folder = TempDir::new().unwrap();
    let run = trained("ddpm");
    let [given, edited, sampled] =
        ["noise.safetensors", "edited.png", "sampled.png"].map(|name| folder.path().join(name));
    let all: Vec<f32> = (0..4).flat_map(|number| initial_noise(7, number, 28 * 28)).collect();
    noise::write(&given, &all, [4, 1, 28, 28]).unwrap();

    let [run, given, edited_png, sampled_png] = [&run, &given, &edited, &sampled].map(|path| text(path));
    let common = ["--checkpoint", run, "--class", "3", "--steps", "5", "--guidance", "1"];
    let edit = ["--seed", "7", "--columns", "2", "--rows", "2", "--out", edited_png];
    succeeds(command(EDIT, &[&["interpolate"][..], &common, &edit].concat()));
    let sample = ["--sampler", "ddim", "--noise", given, "--count", "4", "--out", sampled_png];
    succeeds(command(SAMPLE, &[&common[..], &sample].concat()));
    let [edited, sampled] = [&edited, &sampled].map(|path| Picture::load_png(path).unwrap().bytes);
    assert!(edited == sampled, "equal noise gives different images");
}

/// A scheduler that diffusers has, and a pipeline that can sample with it.
#[test]
fn scheduler_config_is_written_for_processes_of_diffusers() {
    let folder = TempDir::new().unwrap();
    for (preset, scheduler, pipeline) in
        [("ddpm", true, true), ("flow", true, true), ("edm", true, false), ("score", false, false)]
    {
        let run = trained(preset);
        for (name, expected) in [("scheduler/scheduler_config.json", scheduler), ("model_index.json", pipeline)] {
            let file = run.join("checkpoint-1").join(name);
            assert_eq!(file.exists(), expected, "{preset}: {}", file.display());
        }
        let out = folder.path().join("out.png");
        let printed = messages(command(SAMPLE, &["--checkpoint", text(&run), "--count", "2", "--out", text(&out)]));
        assert!(!printed.contains("warning"), "{preset}: {printed}");
    }
}

#[test]
fn checkpoint_of_the_first_edition_gets_one_message() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&trained("flow"), &run);
    let first = r#"{"step": 2, "seconds": 1.5, "dataset": "idx", "class_names": ["0"], "labels": null,
        "process": {"name": "flow"}, "learned_variance": false, "decoder_deviation": 0.0, "sampling": null}"#;
    fs::write(run.join("checkpoint-1/degrain.json"), first).unwrap();
    let out = folder.path().join("out.png");
    let [run, out] = [&run, &out].map(|path| text(path));
    for (program, arguments) in [
        (SAMPLE, vec!["--checkpoint", run, "--out", out]),
        (EDIT, vec!["interpolate", "--checkpoint", run, "--out", out]),
        (TRAIN, vec!["--resume", run]),
    ] {
        fails(command(program, &arguments), 1, &["degrain.json", "another version of degrain"]);
    }
}

/// A folder with the files of a model and its scheduler, without subfolders, is sampled as the same
/// files in subfolders.
#[test]
fn flat_folder_is_sampled_with_its_scheduler() {
    let folder = TempDir::new().unwrap();
    let [nested, flat] = ["nested", "flat"].map(|name| folder.path().join(name));
    copy(&trained("ddpm").join("checkpoint-1"), &nested);
    fs::remove_file(nested.join("degrain.json")).unwrap();
    copy(&nested.join("unet"), &flat);
    copy(&nested.join("scheduler"), &flat);
    let sampled = |checkpoint: &std::path::Path| {
        let out = checkpoint.with_extension("npz");
        let arguments = ["--checkpoint", text(checkpoint), "--count", "2", "--steps", "3", "--guidance", "1"];
        let printed = messages(command(SAMPLE, &[&arguments[..], &["--out", text(&out)]].concat()));
        assert!(!printed.contains("warning"), "{printed}");
        fs::read(out).unwrap()
    };
    assert!(sampled(&flat) == sampled(&nested), "the scheduler beside the weights is not used");
}

/// Python writes numbers that JSON does not have, in keys that only other schedulers read.
#[test]
fn scheduler_config_of_python_can_hold_infinity() {
    let folder = TempDir::new().unwrap();
    copy(&trained("ddpm").join("checkpoint-1"), folder.path());
    let file = folder.path().join("scheduler/scheduler_config.json");
    let config = fs::read_to_string(&file).unwrap().replacen('{', "{\"lambda_min_clipped\": -Infinity,", 1);
    fs::write(&file, &config).unwrap();
    let out = folder.path().join("out.png");
    let arguments = ["--checkpoint", text(folder.path()), "--count", "1", "--steps", "2", "--out", text(&out)];
    let printed = messages(command(SAMPLE, &arguments));
    assert!(printed.contains("lambda_min_clipped"), "{printed}");
    fs::write(&file, config.replace("\"clip_sample_range\": 1.0", "\"clip_sample_range\": NaN")).unwrap();
    fails(command(SAMPLE, &arguments), 1, &["scheduler_config.json", "clip_sample_range", "NaN"]);
}
