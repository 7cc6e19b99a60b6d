//! The commands, and what must be true after a failure.

use super::child::{parse_use, start};
use super::data;
use crate::reliability::{Result, runs};
use degrain::gpu::{DeviceFault, DeviceUse};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Train,
    Sample,
    Evaluate,
}

impl Kind {
    /// In this order, because the others need a trained model.
    pub const ALL: [Kind; 3] = [Kind::Train, Kind::Sample, Kind::Evaluate];
}

/// Folders of a campaign.
pub struct Job {
    folder: PathBuf,
    settings: PathBuf,
    extractor: PathBuf,
}

/// The results of an undisturbed command.
pub struct Whole {
    /// What it asks the device for.
    pub uses: DeviceUse,
    result: Outcome,
    /// Paths of all its files below its folder.
    files: Vec<PathBuf>,
}

/// What a failure must not change.
#[derive(PartialEq)]
enum Outcome {
    /// Model and training state of each checkpoint.
    Checkpoints(BTreeMap<u32, Vec<Vec<u8>>>),
    /// The archive of samples.
    Archive(Vec<u8>),
    /// `evaluation.json` without times.
    Numbers(Value),
}

impl Job {
    /// Writes a data set, and trains a feature extractor.
    pub fn prepare(folder: &Path) -> Result<Job> {
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display())).map(|()| path)
        };
        let data = folder.join("data");
        data::write(&data)?;
        let settings = put("settings.toml", data::denoiser(&data))?;
        let extractor = folder.join("extractor");
        let output = start(None, &train(&put("extractor.toml", data::classifier(&data))?, &extractor))?;
        succeeded(&output)?;
        Ok(Job { folder: folder.into(), settings, extractor })
    }

    /// Runs a command without a failure.
    pub fn undisturbed(&self, kind: Kind) -> Result<Whole> {
        let out = self.whole(kind);
        let output = start(None, &self.command(kind, &out))?;
        succeeded(&output)?;
        let uses = parse_use(&output).ok_or_else(|| messages(&output))?;
        Ok(Whole { uses, result: outcome(kind, &out)?, files: files(&out)? })
    }

    /// The problems after a failure; `None` if the command ended before the failure. `train` reads
    /// its log by the clock, so that the number of submissions differs by a few.
    pub fn check(&self, kind: Kind, whole: &Whole, fault: DeviceFault) -> Result<Option<Vec<String>>> {
        let out = self.folder.join(format!("{kind:?}-{fault:?}").replace(['(', ')'], "-"));
        let output = start(Some(fault), &self.command(kind, &out))?;
        if output.status.success() && !parse_use(&output).is_some_and(|uses| reached(fault, uses)) {
            fs::remove_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
            return Ok(None);
        }
        let mut problems = ending(kind, fault, &output);
        if kind == Kind::Train {
            problems.extend(checkpoint_problems(whole, &out)?);
        } else if out.join(result_file(kind)).exists() {
            problems.push("left a result".into());
        }
        if !output.status.success() {
            let output = start(None, &self.command(kind, &out))?;
            if !output.status.success() {
                problems.push(format!("does not continue: {}", messages(&output)));
                return Ok(Some(problems));
            }
        }
        if outcome(kind, &out)? != whole.result {
            problems.push("has another result".into());
        }
        if kind == Kind::Train {
            problems.extend(runs::logged_once(&out, "\"loss\":", 1..=data::STEPS)?);
        }
        // A failed grid or validation is left out, with a warning.
        if !output.status.success() && files(&out)? != whole.files {
            problems.push(format!("has other files: {:?} instead of {:?}", files(&out)?, whole.files));
        }
        if problems.is_empty() {
            fs::remove_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        }
        Ok(Some(problems))
    }

    /// The undisturbed result of a program.
    fn whole(&self, kind: Kind) -> PathBuf {
        self.folder.join(format!("{kind:?}"))
    }

    /// The command line of a program that writes into a folder.
    fn command(&self, kind: Kind, out: &Path) -> Vec<OsString> {
        let model = self.whole(Kind::Train);
        let options: [(&str, OsString); 9] = [
            ("--checkpoint", model.into()),
            ("--count", "12".into()),
            ("--batch", "5".into()),
            ("--steps", "2".into()),
            ("--feature-extractor", self.extractor.clone().into()),
            ("--feature-cache", out.join("features").into()),
            ("--cas-steps", "2".into()),
            ("--likelihood-images", "5".into()),
            ("--nearest-count", "5".into()),
        ];
        let given = |count: usize, out: PathBuf| {
            let options = options[..count].iter().flat_map(|(name, value)| [OsString::from(name), value.clone()]);
            options.chain(["--out".into(), out.into()])
        };
        match kind {
            Kind::Train => train(&self.settings, out),
            Kind::Sample => {
                // `sample` makes no folders.
                let _ = fs::create_dir_all(out);
                [OsString::from("sample")].into_iter().chain(given(4, out.join(result_file(kind)))).collect()
            }
            Kind::Evaluate => [OsString::from("evaluate")].into_iter().chain(given(9, out.into())).collect(),
        }
    }
}

fn train(settings: &Path, out: &Path) -> Vec<OsString> {
    vec!["train".into(), settings.into(), out.into()]
}

fn result_file(kind: Kind) -> &'static str {
    match kind {
        Kind::Train => "log.jsonl",
        Kind::Sample => "samples.npz",
        Kind::Evaluate => "evaluation.json",
    }
}

/// Whether a command that has asked the device for this has met a failure.
fn reached(fault: DeviceFault, uses: DeviceUse) -> bool {
    match fault {
        DeviceFault::Lost(n) | DeviceFault::Dropped(n) => n < uses.submissions,
        DeviceFault::OutOfMemory(n) => n < uses.allocations,
    }
}

/// The problems with the end of a command with a failure.
fn ending(kind: Kind, fault: DeviceFault, output: &Output) -> Vec<String> {
    let text = messages(output);
    let errors = text.lines().filter(|line| line.starts_with("error: ")).count();
    let warnings = text.lines().filter(|line| line.starts_with("warning: ") && line.contains("GPU device failed"));
    let warnings = warnings.count();
    // Training goes on without a grid or validation for which there is no memory.
    let goes_on = kind == Kind::Train && matches!(fault, DeviceFault::OutOfMemory(_));
    match output.status.code() {
        Some(1) if errors == 1 && warnings == 0 => vec![],
        Some(0) if errors == 0 && warnings == 1 && goes_on => vec![],
        _ => vec![format!("ended with {}, {errors} errors and {warnings} warnings: {text}", output.status)],
    }
}

/// The checkpoints of a run that are not those of the undisturbed run.
fn checkpoint_problems(whole: &Whole, out: &Path) -> Result<Vec<String>> {
    let Outcome::Checkpoints(expected) = &whole.result else { return Ok(vec![]) };
    let found = checkpoints(out)?;
    let differs = |(step, content): (&u32, &Vec<Vec<u8>>)| expected.get(step) != Some(content);
    let wrong = found.iter().filter(|entry| differs(*entry));
    Ok(wrong.map(|(step, _)| format!("checkpoint-{step} is not the undisturbed run's")).collect())
}

/// The contents of the complete checkpoints of a run by step. All must open.
fn checkpoints(out: &Path) -> Result<BTreeMap<u32, Vec<Vec<u8>>>> {
    if !out.is_dir() {
        return Ok(BTreeMap::new());
    }
    let all = degrain::checkpoint::checkpoints(out).map_err(|e| e.to_string())?;
    let content = |(step, path): (u32, PathBuf)| {
        degrain::checkpoint::Checkpoint::open(&path).map_err(|e| e.to_string())?;
        Ok((step, runs::content(&path)?))
    };
    all.into_iter().map(content).collect()
}

fn outcome(kind: Kind, out: &Path) -> Result<Outcome> {
    let path = out.join(result_file(kind));
    let read = || fs::read(&path).map_err(|e| format!("{}: {e}", path.display()));
    Ok(match kind {
        Kind::Train => Outcome::Checkpoints(checkpoints(out)?),
        Kind::Sample => Outcome::Archive(read()?),
        Kind::Evaluate => {
            let mut value = serde_json::from_slice(&read()?).map_err(|e| format!("{}: {e}", path.display()))?;
            remove_times(&mut value);
            Outcome::Numbers(value)
        }
    })
}

/// Removes the seconds, and the rates that follow from them.
fn remove_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.contains("second"));
            fields.values_mut().for_each(remove_times);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_times),
        _ => {}
    }
}

/// The paths of all files below a folder, sorted. Event files have unique names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(|e| format!("{}: {e}", next.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("tfevents") {
                found.push(path.strip_prefix(folder).map_err(|e| e.to_string())?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn succeeded(output: &Output) -> Result<()> {
    if output.status.success() { Ok(()) } else { Err(format!("fails undisturbed: {}", messages(output))) }
}

fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().into()
}
