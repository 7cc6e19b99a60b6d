//! `train`'s loop with a disk that fails at a random moment: it is full after a number of bytes, or
//! one sync or rename fails. No good checkpoint may be lost, and the run must reach its end with
//! the weights of an undisturbed run.
//!
//! Each run is a child process of this program, which switches the failure on in its own disk
//! functions ([`degrain::files::inject`]).

use super::Result;
use super::runs::{self, Random};
use degrain::files::{DiskFault, DiskUse, disk_use, inject};
use degrain::gpu::Context;
use degrain::train::{Settings, Trainer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

/// Name of the command that trains under a failure.
pub const CHILD: &str = "disk-child";
/// Number of checkpoints that a run keeps.
const KEPT: usize = 2;

/// Makes `count` failures.
pub fn run(count: u32) -> Result<()> {
    let folder = runs::folder("disk")?;
    let settings = folder.join("settings.toml");
    let text = runs::settings_toml();
    std::fs::write(&settings, &text).map_err(|e| format!("{}: {e}", settings.display()))?;
    let all = folder.join("all.toml");
    let kept = format!("{text}keep_checkpoints = {}\n", runs::STEPS);
    std::fs::write(&all, kept).map_err(|e| format!("{}: {e}", all.display()))?;

    // The undisturbed run keeps every checkpoint, to compare with.
    let whole = folder.join("whole");
    let output = train(&all, &whole, None)?;
    let disk = parse_use(&output).ok_or_else(|| errors(&output))?;
    let expected = checkpoints(&whole)?;
    println!("a run writes {} bytes, with {} syncs and {} renames", disk.bytes, disk.syncs, disk.renames);

    let mut random = Random::new();
    let mut problems = vec![];
    let (mut faults, mut finished, mut warned) = (0, 0, 0);
    while faults < count {
        let out = folder.join(format!("run-{finished}"));
        let mut before: BTreeMap<u32, PathBuf> = BTreeMap::new();
        loop {
            let fault = (faults < count).then(|| choose(disk, &mut random));
            let output = train(&settings, &out, fault)?;
            faults += u32::from(fault.is_some());
            let errors = errors(&output);
            let mut problem = |what: String| problems.push(format!("{} after {fault:?}: {what}", out.display()));
            if output.status.code().is_none() || errors.contains("panicked") {
                problem(format!("ended with {}: {errors}", output.status));
            } else if !output.status.success() && !errors.starts_with("error: ") && !errors.contains("\nerror: ") {
                problem("ended without a message".into());
            }
            let after = checkpoints_of(&out)?;
            let newest: Vec<u32> = before.keys().chain(after.keys()).copied().collect();
            let newest = newest.into_iter().collect::<std::collections::BTreeSet<_>>();
            for step in newest.iter().rev().take(KEPT).filter(|step| before.contains_key(step)) {
                if !after.contains_key(step) {
                    problem(format!("checkpoint-{step} is lost"));
                }
            }
            let logged = runs::last_logged_step(&out);
            if after.keys().last().copied().unwrap_or(0) + 1 < logged {
                problem(format!("the log has step {logged}, and the newest checkpoint is {:?}", after.keys().last()));
            }
            for (step, path) in &after {
                if let Err(error) = degrain::checkpoint::Checkpoint::open(path) {
                    problem(error.to_string());
                } else if runs::content(path)? != expected[step] {
                    problem(format!("checkpoint-{step} differs from the undisturbed run's"));
                }
            }
            if output.status.success() {
                warned += u32::from(errors.contains("warning: "));
                break;
            }
            if fault.is_none() {
                return Err(format!("{}: does not resume: {errors}", out.display()));
            }
            before = after;
        }
        finished += 1;
        problems.extend(runs::step_problems(&out)?.iter().map(|problem| format!("{}: {problem}", out.display())));
        println!("{faults} failures, {finished} runs finished, {} problems", problems.len());
    }
    println!("{faults} failures in {finished} runs, {warned} of which finished with a warning");
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// A failure at a random moment of a run.
fn choose(disk: DiskUse, random: &mut Random) -> DiskFault {
    let mut below = |count: u64| (random.uniform() * count as f64) as u64;
    match below(3) {
        0 => DiskFault::Full(below(disk.bytes)),
        1 => DiskFault::Sync(below(disk.syncs)),
        _ => DiskFault::Rename(below(disk.renames)),
    }
}

/// Starts a run, or resumes it, in a child process.
fn train(settings: &Path, out: &Path, fault: Option<DiskFault>) -> Result<Output> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let (kind, number) = match fault {
        None => ("none", 0),
        Some(DiskFault::Full(bytes)) => ("full", bytes),
        Some(DiskFault::Sync(number)) => ("sync", number),
        Some(DiskFault::Rename(number)) => ("rename", number),
    };
    let mut command = Command::new(program);
    command.args(["reliability", CHILD, kind, &number.to_string()]).arg(settings).arg(out);
    command.stdin(Stdio::null()).output().map_err(|e| e.to_string())
}

/// The child process.
pub fn child(arguments: &[String]) -> Result<()> {
    let [kind, number, settings, out] = arguments else { return Err("four arguments are needed".into()) };
    let number = number.parse().map_err(|e| format!("{number}: {e}"))?;
    let fault = match kind.as_str() {
        "full" => DiskFault::Full(number),
        "sync" => DiskFault::Sync(number),
        "rename" => DiskFault::Rename(number),
        // For the numbers of `disk_use`.
        _ => DiskFault::Full(u64::MAX),
    };
    let text = |problem: degrain::Error| problem.to_string();
    let ctx = Context::open(None).map_err(text)?;
    let given = Settings { out: Some(out.into()), ..Settings::default() };
    let settings = given.or(Settings::read(Path::new(settings)).map_err(text)?);
    inject(Some(fault));
    let trainer = Trainer::new(&ctx, settings).map_err(text)?;
    trainer.resume_or_start().map_err(text)?.run(&AtomicBool::new(false)).map_err(text)?;
    let DiskUse { bytes, syncs, renames } = disk_use();
    println!("use {bytes} {syncs} {renames}");
    Ok(())
}

fn parse_use(output: &Output) -> Option<DiskUse> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("use "))?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [bytes, syncs, renames] = numbers[..] else { return None };
    Some(DiskUse { bytes, syncs, renames })
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().into()
}

/// The contents of the complete checkpoints of a run by step.
fn checkpoints(out: &Path) -> Result<BTreeMap<u32, Vec<Vec<u8>>>> {
    checkpoints_of(out)?.into_iter().map(|(step, path)| Ok((step, runs::content(&path)?))).collect()
}

fn checkpoints_of(out: &Path) -> Result<BTreeMap<u32, PathBuf>> {
    if !out.is_dir() {
        return Ok(BTreeMap::new());
    }
    degrain::checkpoint::checkpoints(out).map(BTreeMap::from_iter).map_err(|e| e.to_string())
}
