//! Runs the programs: commands that succeed, commands that are refused, and small training runs.

pub use crate::programs::{EDIT, EVALUATE, SAMPLE, TRAIN, command};

use crate::common::run::files;
use crate::common::small::small;
use degrain::train::Settings;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Runs a command that must succeed. Returns its standard output.
#[track_caller]
pub fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("output in UTF-8")
}

/// Runs a command that must succeed. Returns its standard error.
#[track_caller]
pub fn messages(mut command: Command) -> String {
    let output = command.output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {messages}");
    messages
}

/// Runs a command that must fail with this exit code and one message, which contains all the parts.
/// Returns its standard error.
#[track_caller]
pub fn fails(mut command: Command, code: i32, parts: &[&str]) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8(output.stderr).expect("messages in UTF-8");
    assert_eq!(output.status.code(), Some(code), "{command:?}: exit code; it says {errors}");
    for word in ["panicked", "backtrace", "RUST_", "Validation Error"] {
        assert!(!errors.contains(word), "{command:?}: {errors}");
    }
    let lines = errors.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(lines, 1, "{command:?}: one message, not {errors:?}");
    for part in parts {
        assert!(errors.contains(part), "{command:?}: {errors:?} does not say {part:?}");
    }
    errors
}

/// Runs a program that must refuse its arguments: exit code 1.
#[track_caller]
pub fn refused(program: &str, arguments: &[&str], parts: &[&str]) {
    fails(command(program, arguments), 1, parts);
}

/// `train` with these settings, which are written to a file next to the run's folder, and options.
pub fn train(settings: &Settings, options: &[&str]) -> Command {
    let out = settings.out.as_deref().expect("the settings have a folder for the run");
    let config = out.with_extension("toml");
    fs::write(&config, toml::to_string(settings).expect("settings in TOML")).expect("a file of settings");
    command(TRAIN, &[&["--config", text(&config)], options].concat())
}

/// `train` for a small run of this preset with these options, which must be refused and must leave
/// nothing in the run's folder.
#[track_caller]
pub fn train_refuses(preset: &str, options: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    fails(train(&Settings { out: Some(out.clone()), ..small(preset) }, options), 1, parts);
    assert!(!out.exists(), "{options:?}: files are left in the folder of the run");
}

/// The folder of a small run of this preset after one step. All tests share it.
pub fn trained(preset: &str) -> PathBuf {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());
    static RUNS: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut runs = RUNS.lock().expect("no run has failed");
    let make = || {
        let out = FOLDER.path().join(preset);
        let settings = Settings { out: Some(out.clone()), ..small(preset) };
        // DDIM has options and a class of scheduler that the tests change.
        let sampler: &[&str] = if preset == "ddpm" { &["--sampler", "ddim"] } else { &[] };
        let printed = succeeds(train(&settings, &[&["--stop-after", "1"], sampler].concat()));
        let resume = format!("--resume {}", out.display());
        assert!(printed.contains("stopped after step 1 and saved") && printed.contains(&resume), "{printed}");
        out
    };
    runs.entry(preset.into()).or_insert_with(make).clone()
}

/// Runs a program on a checkpoint with an output file, which must be refused and must write
/// nothing. `task` comes before the checkpoint: the subcommand of `edit`, or nothing.
#[track_caller]
pub fn refuses(program: &str, task: &[&str], checkpoint: &Path, options: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.png");
    let out = if options.contains(&"--out") { vec![] } else { vec!["--out", text(&out)] };
    refused(program, &[task, &["--checkpoint", text(checkpoint)], &out, options].concat(), parts);
    assert_eq!(files(folder.path()), [], "{options:?}: files were written");
}
