//! Small training runs in processes, and the comparison of their checkpoints.

use super::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Steps of a run.
pub const STEPS: u32 = 30;

/// Folder of a campaign, emptied. Everything in it was made by campaigns.
pub fn folder(campaign: &str) -> Result<PathBuf> {
    let folder = Path::new("target/reliability").join(campaign);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

/// A command that starts a run in a folder, with a checkpoint after every step.
pub fn start(out: &Path) -> Result<Command> {
    let mut command = train()?;
    let settings = [
        ("--size", "tiny"),
        ("--batch", "4"),
        ("--warmup", "2"),
        ("--block-out-channels", "8,8"),
        ("--attention", "false,true"),
        ("--norm-num-groups", "4"),
        ("--validation-count", "10"),
        ("--validate-every", "7"),
        ("--sample-every", "15"),
        ("--sampling-steps", "3"),
        ("--checkpoint-every", "1"),
    ];
    command.args(settings.into_iter().flat_map(|(option, value)| [option, value]));
    command.arg("--steps").arg(STEPS.to_string()).arg("--out").arg(out);
    Ok(command)
}

/// A command that resumes a run.
pub fn resume(out: &Path) -> Result<Command> {
    let mut command = train()?;
    command.arg("--resume").arg(out);
    Ok(command)
}

fn train() -> Result<Command> {
    let program = Path::new("target/release/train");
    if !program.exists() {
        return Err(format!("{}: build the programs first: cargo build --release", program.display()));
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

/// The step of the newest complete checkpoint of a run; 0 for none.
pub fn newest(out: &Path) -> Result<u32> {
    if !out.is_dir() {
        return Ok(0);
    }
    let all = degrain::checkpoint::checkpoints(out).map_err(|e| e.to_string())?;
    Ok(all.last().map_or(0, |(step, _)| *step))
}

/// The model and the training state after the last step: their bytes.
pub fn result(out: &Path) -> Result<Vec<Vec<u8>>> {
    let checkpoint = out.join(format!("checkpoint-{STEPS}"));
    let files = ["unet/diffusion_pytorch_model.safetensors", "training_state.safetensors"];
    let read = |name| fs::read(checkpoint.join(name)).map_err(|e| format!("{}/{name}: {e}", checkpoint.display()));
    files.into_iter().map(read).collect()
}

/// The steps that the log has more than once, or not at all.
pub fn log_problems(out: &Path) -> Result<Vec<String>> {
    let path = out.join("log.jsonl");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let count = |key: &str, step: u32| {
        let step = format!("\"step\":{step},");
        text.lines().filter(|line| line.contains(&step) && line.contains(key)).count()
    };
    let steps = (1..=STEPS).map(|step| (step, "\"loss\":", count("\"loss\":", step)));
    let validations = (7..=STEPS).step_by(7).map(|step| (step, "validation_loss", count("validation_loss", step)));
    let wrong = steps.chain(validations).filter(|(_, _, count)| *count != 1);
    Ok(wrong.map(|(step, key, count)| format!("{key} of step {step} is logged {count} times")).collect())
}

/// Random numbers for moments and distances. The seed is printed.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 | 1;
        println!("seed {seed}");
        Random(seed)
    }

    /// Uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
