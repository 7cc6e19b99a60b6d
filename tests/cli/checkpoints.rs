//! Checkpoints as the programs read and write them: the same sampler in all programs, and the files
//! of a checkpoint.

use crate::common::run::copy;
use crate::harness::{EDIT, SAMPLE, TRAIN, command, fails, succeeds, text, trained};
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
    let all: Vec<f32> = (0..4).flat_map(|number| initial_noise(7, number, 28 * 28, 1.0)).collect();
    noise::write(&given, &all, [4, 1, 28, 28]).unwrap();

    let [run, given, edited_png, sampled_png] = [&run, &given, &edited, &sampled].map(|path| text(path));
    let common = ["--checkpoint", run, "--class", "3", "--steps", "5", "--seed", "7", "--guidance", "1"];
    let edit = ["--columns", "2", "--rows", "2", "--out", edited_png];
    succeeds(command(EDIT, &[&["interpolate"][..], &common, &edit].concat()));
    let sample = ["--sampler", "ddim", "--noise", given, "--count", "4", "--out", sampled_png];
    succeeds(command(SAMPLE, &[&common[..], &sample].concat()));
    let [edited, sampled] = [&edited, &sampled].map(|path| Picture::load_png(path).unwrap().bytes);
    assert!(edited == sampled, "equal noise gives different images");
}

#[test]
fn scheduler_config_is_written_for_discrete_timesteps_only() {
    let folder = TempDir::new().unwrap();
    for (preset, discrete) in [("ddpm", true), ("flow", false), ("edm", false), ("score", false)] {
        let run = trained(preset);
        let file = run.join("checkpoint-1/scheduler/scheduler_config.json");
        assert_eq!(file.exists(), discrete, "{preset}: {}", file.display());
        let out = folder.path().join("out.png");
        let output = command(SAMPLE, &["--checkpoint", text(&run), "--count", "2", "--out", text(&out)]).output();
        let output = output.unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !messages.contains("warning"), "{preset}: {messages}");
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
