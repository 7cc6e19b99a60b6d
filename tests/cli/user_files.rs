//! The user's files: programs keep files that they did not create, one program writes at a time,
//! and saved checkpoints stay.

use crate::common::run::{copy, files};
use crate::common::small::small;
use crate::harness::{SAMPLE, TRAIN, command, fails, messages, refused, succeeds, text, train, trained};
use degrain::files::FolderLock;
use degrain::train::{LogEntry, Settings};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A run of 20 steps with checkpoints every 5 steps, stopped after `steps`.
fn stopped_run(folder: &Path, steps: u32) -> PathBuf {
    let out = folder.join("run");
    let settings = Settings { out: Some(out.clone()), checkpoint_every: Some(5), ..small("ddpm") };
    succeeds(train(&settings, &["--stop-after", &steps.to_string()]));
    out
}

fn log(run: &Path) -> Vec<LogEntry> {
    let text = fs::read_to_string(run.join("log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn run_folder_has_one_writer() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let lock = FolderLock::acquire(&run).unwrap();
    let process = format!("(process {})", std::process::id());
    let before = files(&run);
    refused(TRAIN, &["--resume", text(&run)], &[text(&run), &process, "is writing into this folder"]);
    assert!(files(&run) == before, "the run has changed");
    drop(lock);
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
}

#[test]
fn run_does_not_replace_files_that_no_run_made() {
    for name in ["config.toml", "log.jsonl", "samples/cat.png", "manifest.json", "loss.png", "checkpoint-500/unet/x"] {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("run");
        let file = out.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "mine").unwrap();
        let start = train(&Settings { out: Some(out.clone()), ..small("ddpm") }, &[]);
        fails(start, 1, &[name.split('/').next().unwrap(), "--out"]);
        assert_eq!(files(&out), [(name.to_string(), b"mine".to_vec())]);
    }
}

/// A run whose only checkpoint is damaged: starting again would replace its log.
#[test]
fn run_does_not_start_again_over_a_damaged_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    fs::remove_file(run.join("checkpoint-5/degrain.json")).unwrap();
    let before = files(&run);
    let start = train(&Settings { out: Some(run.clone()), ..small("ddpm") }, &[]);
    fails(start, 1, &["checkpoint-5", "not a complete checkpoint", "--out"]);
    assert!(files(&run) == before, "the run has changed");
}

#[test]
fn checkpoint_counts_only_if_it_is_complete() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    fs::write(run.join("checkpoint-9"), "a file").unwrap();
    fs::create_dir_all(run.join("checkpoint-8/unet")).unwrap();
    let out = folder.path().join("out.png");
    let sample = ["--checkpoint", text(&run), "--count", "1", "--steps", "2", "--out", text(&out)];
    assert!(messages(command(SAMPLE, &sample)).contains("checkpoint-5"));
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
    // They would be in the way of the checkpoints of these steps.
    assert_eq!(fs::read(run.join("abandoned-checkpoint-9")).unwrap(), b"a file");
    assert!(run.join("abandoned-checkpoint-8/unet").is_dir());
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "10"]));
    assert_eq!(fs::read(run.join("abandoned-checkpoint-9")).unwrap(), b"a file");
}

/// The place of `--out` is tried before anything is sampled.
#[test]
fn sample_tries_the_place_of_its_output_first() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();
    fs::create_dir(folder.path().join("folder.png")).unwrap();
    let run = trained("ddpm");
    for (name, part) in [("file/out.png", "file"), ("folder.png", "is a folder")] {
        let out = folder.path().join(name);
        // The checkpoint does not exist, and the message is about the output.
        refused(SAMPLE, &["--checkpoint", "/nowhere", "--out", text(&out)], &[part]);
        refused(SAMPLE, &["--checkpoint", text(&run), "--out", text(&out)], &[part]);
    }
    assert_eq!(files(folder.path()), [("file".to_string(), b"mine".to_vec())]);
}

#[test]
fn sample_refuses_more_images_than_the_memory_holds() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.png");
    let run = trained("ddpm");
    let count = ["--checkpoint", text(&run), "--out", text(&out), "--steps", "1", "--count", "4000000000"];
    refused(SAMPLE, &count, &["--count 4000000000", "GB of memory", "fewer at once"]);
}

#[test]
fn resume_skips_a_checkpoint_with_the_metadata_of_another_step() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 10);
    fs::copy(run.join("checkpoint-5/degrain.json"), run.join("checkpoint-10/degrain.json")).unwrap();
    let told = messages(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
    for part in ["checkpoint-10/degrain.json", "is of step 5, not 10", "continues from", "checkpoint-5"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
}

#[test]
fn resume_continues_before_a_damaged_checkpoint_and_keeps_it() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 10);
    let state = run.join("checkpoint-10/training_state.safetensors");
    fs::write(&state, &fs::read(&state).unwrap()[..1000]).unwrap();
    let told = messages(command(TRAIN, &["--resume", text(&run), "--stop-after", "7"]));
    for part in ["checkpoint-10/training_state.safetensors", "damaged", "continues from", "checkpoint-5"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
    let kept = run.join("abandoned-checkpoint-10/training_state.safetensors");
    assert_eq!(fs::read(kept).unwrap().len(), 1000, "the damaged checkpoint is set aside");
    assert!(run.join("checkpoint-7").is_dir() && !run.join("checkpoint-10").exists());
    let steps: Vec<u32> =
        log(&run).iter().filter(|entry| matches!(entry, LogEntry::Step { .. })).map(LogEntry::step).collect();
    assert_eq!(steps, (1..=7).collect::<Vec<_>>(), "each step is logged once");
}

#[test]
fn resume_of_a_finished_run_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    succeeds(train(&Settings { out: Some(out.clone()), steps: Some(3), ..small("ddpm") }, &[]));
    let before = files(&out);
    refused(TRAIN, &["--resume", text(&out)], &["has finished 3 steps", "--steps"]);
    refused(TRAIN, &["--resume", text(&out), "--steps", "2"], &["has finished 3 steps", "--steps"]);
    assert!(files(&out) == before, "the run has changed");

    // A run that was stopped, with fewer steps than it has.
    let other = TempDir::new().unwrap();
    let stopped = stopped_run(other.path(), 5);
    let before = files(&stopped);
    refused(TRAIN, &["--resume", text(&stopped), "--steps", "3"], &["has finished 5 steps", "--steps"]);
    assert!(files(&stopped) == before, "the run has changed");
}

/// The command that a stopped run prints can be pasted into a shell.
#[cfg(unix)]
#[test]
fn resume_command_of_a_path_with_a_space_can_be_pasted() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("it's a run");
    let printed = succeeds(train(&Settings { out: Some(out.clone()), ..small("ddpm") }, &["--stop-after", "1"]));
    let again = printed.lines().find_map(|line| line.trim().strip_prefix("cargo run --release --bin train -- "));
    let script = format!("'{TRAIN}' {} --stop-after 2", again.expect("a command"));
    succeeds(command("sh", &["-c", &script]));
    assert!(out.join("checkpoint-2").is_dir());
    // Outside the repository there is no `cargo run`.
    let mut elsewhere = command(TRAIN, &["--resume", text(&out), "--stop-after", "3"]);
    elsewhere.current_dir(folder.path());
    let printed = succeeds(elsewhere);
    assert!(printed.contains("\n  train --resume '"), "{printed}");
}

/// A run that was killed after its last checkpoint lacks measurements. It can be resumed to make
/// them.
#[test]
fn resume_makes_the_missing_measurements_of_the_last_step() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    succeeds(train(&Settings { out: Some(out.clone()), steps: Some(5), ..small("ddpm") }, &[]));
    let checkpoint = files(&out.join("checkpoint-5"));
    for missing in ["samples/raw-000005.png", "reverse.png"] {
        fs::remove_file(out.join(missing)).unwrap();
        succeeds(command(TRAIN, &["--resume", text(&out)]));
        assert!(out.join(missing).exists(), "{missing}");
        refused(TRAIN, &["--resume", text(&out)], &["has finished 5 steps"]);
    }
    assert!(files(&out.join("checkpoint-5")) == checkpoint, "the checkpoint has changed");
}

#[test]
fn resume_refuses_what_changes_the_meaning_of_the_weights_and_lists_the_rest() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let before = files(&run);
    for (option, value) in [
        ("--prediction", "epsilon"),
        ("--schedule", "linear"),
        ("--timesteps", "40"),
        ("--zero-terminal-snr", "true"),
        ("--unconditional", "true"),
        ("--block-out-channels", "8,12"),
        ("--validation-count", "20"),
        ("--initialization", "pytorch"),
    ] {
        refused(TRAIN, &["--resume", text(&run), option, value], &[option, "another run", "--out"]);
    }
    // The same files, but two images have exchanged their labels.
    let data = folder.path().join("data");
    copy(crate::common::run::digits(), &data);
    let labels = data.join("train-labels-idx1-ubyte");
    let mut bytes = fs::read(&labels).unwrap();
    bytes.swap(8, 9);
    fs::write(&labels, bytes).unwrap();
    refused(TRAIN, &["--resume", text(&run), "--data", text(&data)], &["other data", "SHA-256", "--data"]);
    assert!(files(&run) == before, "the run has changed");

    let resume = ["--resume", text(&run), "--batch", "8", "--lr", "1e-3", "--stop-after", "6"];
    let told = messages(command(TRAIN, &resume));
    assert!(told.contains("batch: 4 -> 8") && told.contains("lr: 0.002 -> 0.001"), "{told}");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    let starts: Vec<u64> = manifest["starts"].as_array().unwrap().iter().map(|s| s["step"].as_u64().unwrap()).collect();
    assert_eq!(starts, [0, 5]);
    assert_eq!(manifest["starts"][1]["changed"][0], "batch: 4 -> 8", "{manifest}");
}

/// A run of an older version, before a setting existed.
#[test]
fn resume_takes_the_default_of_a_setting_that_the_run_does_not_have() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let config = run.join("config.toml");
    let text_of = fs::read_to_string(&config).unwrap();
    let newer = |line: &str| ["guidance_rescale", "eta = 1.0"].iter().any(|start| line.starts_with(start));
    let without: Vec<&str> = text_of.lines().filter(|line| !newer(line)).collect();
    assert_eq!(without.len() + 2, text_of.lines().count());
    fs::write(&config, without.join("\n")).unwrap();
    let manifest = run.join("manifest.json");
    let old = fs::read_to_string(&manifest).unwrap();
    let new = old.replace("\"eta\": 1.0,", "");
    assert!(new != old, "{old}");
    fs::write(&manifest, new).unwrap();
    let told = messages(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
    assert!(!told.contains("eta:"), "{told}");
    let resumed = fs::read_to_string(&config).unwrap();
    // The run's samples had no noise then, whatever the preset has today.
    assert!(resumed.contains("guidance_rescale = 0.0") && resumed.contains("eta = 0.0"), "{resumed}");
}

#[test]
fn grid_that_cannot_be_written_is_a_warning_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    fs::write(run.join("samples"), "not a folder").unwrap();
    let resume = ["--resume", text(&run), "--sample-every", "10", "--stop-after", "12"];
    let told = messages(command(TRAIN, &resume));
    assert!(told.contains("warning: the grid of samples after step 10 failed: "), "{told}");
    assert!(told.contains(text(&run.join("samples"))), "{told}");
    assert!(run.join("checkpoint-10").is_dir() && run.join("checkpoint-12").is_dir());
}

/// Ctrl-C while a grid is sampled: the grid is left out, and the run stops. `timeout` sends its
/// signal twice, to the process and to its group.
#[cfg(unix)]
#[test]
fn interrupt_ends_a_grid_and_a_resumed_run_makes_it() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = Settings {
        out: Some(run.clone()),
        checkpoint_every: Some(5),
        sample_every: Some(5),
        timesteps: Some(1000),
        sampling_steps: Some(1000),
        ..small("ddpm")
    };
    let mut child = train(&settings, &[])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !run.join("checkpoint-5").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    for _ in 0..2 {
        let interrupt = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(interrupt.success());
    }
    let output = child.wait_with_output().unwrap();
    let [printed, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success() && printed.contains("stopped after step 5 and saved"), "{printed}");
    assert!(printed.contains("step 5: sampling the grids"), "{printed}");
    // A message that is wider than a terminal is erased with the progress bar.
    let message = told.lines().find(|line| line.contains("press Ctrl-C again")).expect("a message");
    assert!(message.len() < 80, "{message}");
    let grid = run.join("samples/ema-000005.png");
    assert!(!grid.exists(), "the whole grid was sampled before the run stopped");
    succeeds(command(TRAIN, &["--resume", text(&run), "--sampling-steps", "3", "--stop-after", "6"]));
    assert!(grid.exists(), "the resumed run makes the grid");
}

/// The checkpoint of step 5 is complete, and the process was killed before the validation.
#[test]
fn resume_makes_a_missing_validation() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let validations = |run: &Path| -> Vec<u32> {
        log(run).iter().filter(|entry| matches!(entry, LogEntry::Validation { .. })).map(LogEntry::step).collect()
    };
    assert_eq!(validations(&run), [5]);
    let path = run.join("log.jsonl");
    let text_of = fs::read_to_string(&path).unwrap();
    let without: Vec<&str> = text_of.lines().filter(|line| !line.contains("validation_loss")).collect();
    fs::write(&path, without.join("\n") + "\n").unwrap();
    assert_eq!(validations(&run), [0; 0]);
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
    assert_eq!(validations(&run), [5]);
}

/// An event file of a resumed run begins with a `SessionLog` of status START at the next step.
#[test]
fn tensorboard_drops_the_steps_that_a_resumed_run_repeats() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&trained("ddpm"), &run);
    let events = |run: &Path| -> Vec<Vec<u8>> {
        let all = files(run).into_iter().filter(|(name, _)| name.contains("tfevents"));
        all.map(|(_, content)| content).collect()
    };
    assert_eq!(events(&run).len(), 1);
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "3"]));
    let all = events(&run);
    assert_eq!(all.len(), 2, "the resumed run has a second file");
    // Field 2, the step: 2. Field 7, the session log, with field 1, the status: 1 for START.
    let start = [0x10, 2, 0x3a, 2, 0x08, 1];
    let has_start = |file: &Vec<u8>| file.windows(start.len()).any(|bytes| bytes == start);
    assert_eq!(all.iter().filter(|file| has_start(file)).count(), 1);
}

/// Copies of checkpoints and folders with the names of temporary ones are the user's.
#[test]
fn run_removes_only_checkpoints_that_it_wrote() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 10);
    copy(&run.join("checkpoint-10"), &run.join("checkpoint-2"));
    let other = folder.path().join("other");
    let settings = Settings { out: Some(other.clone()), steps: Some(4), checkpoint_every: Some(4), ..small("ddpm") };
    succeeds(train(&settings, &[]));
    copy(&other.join("checkpoint-4"), &run.join("checkpoint-4"));
    let partial = run.join(".checkpoint-12.partial");
    fs::create_dir(&partial).unwrap();
    succeeds(command(TRAIN, &["--resume", text(&run), "--keep-checkpoints", "1", "--stop-after", "12"]));
    let there = |step: u32| run.join(format!("checkpoint-{step}")).is_dir();
    assert_eq!([2, 4, 5, 10, 12].map(there), [true, true, false, false, true]);
    assert!(partial.is_dir());
}

/// The manifest and the checkpoints know how the run was made.
#[test]
fn resume_compares_with_the_run_when_its_files_were_edited_or_removed() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(config.contains(from), "{from:?} is not in {config}");
        fs::write(run.join("config.toml"), config.replace(from, to)).unwrap();
    };
    let resume = ["--resume", text(&run), "--stop-after", "6"];
    edit("prediction = \"v_prediction\"", "prediction = \"epsilon\"");
    refused(TRAIN, &resume, &["--prediction", "v_prediction", "epsilon"]);
    edit("batch = 4", "batch = 2");
    let told = messages(command(TRAIN, &[&resume[..], &["--label-dropout", "0.3"]].concat()));
    assert!(told.contains("changed since the last start: batch: 4 -> 2"), "{told}");
    assert!(told.contains("label_dropout: 0.2 -> 0.3\n"), "{told}");
    edit("batch = 4", "batch = 4");
    fs::remove_file(run.join("manifest.json")).unwrap();
    let data = folder.path().join("data");
    copy(crate::common::run::digits(), &data);
    let labels = data.join("train-labels-idx1-ubyte");
    let mut bytes = fs::read(&labels).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = (bytes[last] + 1) % 10;
    fs::write(&labels, bytes).unwrap();
    refused(TRAIN, &["--resume", text(&run), "--data", text(&data)], &["other data", "--data"]);
}

/// The later checkpoints and the log are kept under other names. The run continues from the chosen
/// checkpoint.
#[test]
fn resume_continues_from_a_chosen_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 12);
    let later = files(&run.join("checkpoint-12"));
    let told = messages(command(TRAIN, &["--resume", text(&run.join("checkpoint-10")), "--stop-after", "11"]));
    assert!(told.contains("continues from step 10") && told.contains("abandoned-checkpoint-12"), "{told}");
    assert!(files(&run.join("abandoned-checkpoint-12")) == later, "the later checkpoint has changed");
    let kept = fs::read_to_string(run.join("abandoned-log-12.jsonl")).unwrap();
    assert!(told.contains("abandoned-log-12.jsonl") && kept.contains("\"step\":12,"), "{told} {kept}");
    assert!(run.join("checkpoint-10").is_dir() && run.join("checkpoint-11").is_dir());
    let steps: Vec<u32> =
        log(&run).iter().filter(|entry| matches!(entry, LogEntry::Step { .. })).map(LogEntry::step).collect();
    assert_eq!(steps, (1..=11).collect::<Vec<_>>(), "each step is logged once");
}

/// More steps stretch the cosine, so the learning rate jumps. `train` prints the jump.
#[test]
fn extension_of_a_cosine_run_tells_the_jump_of_the_learning_rate() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let lr_schedule = Some(degrain::train::LrSchedule::Cosine);
    succeeds(train(&Settings { out: Some(out.clone()), steps: Some(6), lr_schedule, ..small("ddpm") }, &[]));
    let told = messages(command(TRAIN, &["--resume", text(&out), "--steps", "12", "--stop-after", "7"]));
    assert!(told.contains("steps: 6 -> 12"), "{told}");
    assert!(told.contains("learning rate: 2.93e-4 in step 6 -> 1.31e-3 in step 7"), "{told}");
    // The next start changes nothing.
    let told = messages(command(TRAIN, &["--resume", text(&out), "--stop-after", "8"]));
    assert!(!told.contains("learning rate"), "{told}");
}

/// A manifest of an older version does not have the list of starts.
#[test]
fn resume_reads_a_manifest_without_starts() {
    let folder = TempDir::new().unwrap();
    let run = stopped_run(folder.path(), 5);
    let path = run.join("manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest.as_object_mut().unwrap().remove("starts");
    fs::write(&path, manifest.to_string()).unwrap();
    succeeds(command(TRAIN, &["--resume", text(&run), "--stop-after", "6"]));
}
