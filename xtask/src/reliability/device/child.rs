//! The child process: a command on a device that fails.

use crate::reliability::Result;
use degrain::gpu::{Context, DeviceFault, DeviceUse, device_use, inject};
use degrain::train::{Settings, Trainer};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::AtomicBool;

#[allow(dead_code)] // the function `main`
#[path = "../../../../src/bin/evaluate.rs"]
mod evaluate;
#[allow(dead_code)]
#[path = "../../../../src/bin/sample/main.rs"]
mod sample;

/// Name of the command of this program.
pub const CHILD: &str = "device-child";

/// Starts a command with a failure, and waits for it.
pub fn start(fault: Option<DeviceFault>, command_line: &[OsString]) -> Result<Output> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let (kind, number) = match fault {
        None => ("none", 0),
        Some(DeviceFault::Lost(number)) => ("lost", number),
        Some(DeviceFault::OutOfMemory(number)) => ("memory", number),
        Some(DeviceFault::Dropped(number)) => ("dropped", number),
    };
    let mut command = Command::new(program);
    command.args(["reliability", CHILD, kind, &number.to_string()]).args(command_line);
    command.stdin(Stdio::null()).output().map_err(|e| e.to_string())
}

/// What a command that has succeeded has asked the device for.
pub fn parse_use(output: &Output) -> Option<DeviceUse> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("use "))?;
    let (submissions, allocations) = line.split_once(' ')?;
    Some(DeviceUse { submissions: submissions.parse().ok()?, allocations: allocations.parse().ok()? })
}

/// The child process. Arguments: the failure, its number, a program, its command line.
pub fn child(arguments: &[String]) -> Result<()> {
    let [kind, number, program, rest @ ..] = arguments else { return Err("four arguments are needed".into()) };
    let number = number.parse().map_err(|e| format!("{number}: {e}"))?;
    inject(Some(match kind.as_str() {
        "lost" => DeviceFault::Lost(number),
        "memory" => DeviceFault::OutOfMemory(number),
        "dropped" => DeviceFault::Dropped(number),
        // For the numbers of `device_use`.
        _ => DeviceFault::Lost(u64::MAX),
    }));
    let command_line = || [program].into_iter().chain(rest).map(OsString::from);
    match (program.as_str(), rest) {
        ("train", [settings, out]) => train(Path::new(settings), Path::new(out)),
        ("sample", _) => sample::run_with(command_line()),
        ("evaluate", _) => evaluate::run_with(command_line()),
        _ => return Err(format!("{program}: unknown")),
    }
    .map_err(|problem| problem.to_string())?;
    let DeviceUse { submissions, allocations } = device_use();
    println!("use {submissions} {allocations}");
    Ok(())
}

/// Starts a run, or resumes it.
fn train(settings: &Path, out: &Path) -> degrain::Result<()> {
    let ctx = Context::open(None)?;
    let given = Settings { out: Some(out.into()), ..Settings::default() };
    let trainer = Trainer::new(&ctx, given.or(Settings::read(settings)?))?;
    trainer.resume_or_start()?.run(&AtomicBool::new(false)).map(|_| ())
}
