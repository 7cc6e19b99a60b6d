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

/// Settings of a small run with a checkpoint after every step, as TOML.
pub fn settings_toml() -> String {
    let settings = "size = \"tiny\"\nbatch = 4\nwarmup = 2\nblock_out_channels = [8, 8]\nattention = [false, true]\n\
        norm_num_groups = 4\nvalidation_count = 10\nvalidate_every = 7\nsample_every = 15\nsampling_steps = 3\n\
        checkpoint_every = 1\n";
    format!("{settings}steps = {STEPS}\n")
}

/// A command that starts a run in a folder.
pub fn start(out: &Path) -> Result<Command> {
    start_with(out, &settings_toml())
}

/// A command that starts a run with these settings in a folder.
pub fn start_with(out: &Path, settings: &str) -> Result<Command> {
    let file = out.with_extension("toml");
    fs::write(&file, settings).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = train()?;
    command.arg("--config").arg(file).arg("--out").arg(out);
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
    content(&out.join(format!("checkpoint-{STEPS}")))
}

/// The model and the training state of a checkpoint: their bytes.
pub fn content(checkpoint: &Path) -> Result<Vec<Vec<u8>>> {
    let files = ["unet/diffusion_pytorch_model.safetensors", "training_state.safetensors"];
    let read = |name| fs::read(checkpoint.join(name)).map_err(|e| format!("{}/{name}: {e}", checkpoint.display()));
    files.into_iter().map(read).collect()
}

/// What is wrong with a finished run that was killed: weights other than those of a run without a
/// kill, and steps and validations that the log has more than once or not at all.
pub fn problems_after_kills(out: &Path, expected: &[Vec<u8>]) -> Result<Vec<String>> {
    let mut problems = log_problems(out)?;
    if result(out)? != expected {
        problems.push("the weights differ from the run without a kill".into());
    }
    Ok(problems.iter().map(|problem| format!("{}: {problem}", out.display())).collect())
}

/// The steps and validations that the log has more than once, or not at all.
pub fn log_problems(out: &Path) -> Result<Vec<String>> {
    let mut problems = step_problems(out)?;
    problems.extend(logged_once(out, "validation_loss", (7..=STEPS).step_by(7))?);
    Ok(problems)
}

/// The steps that the log has more than once, or not at all.
pub fn step_problems(out: &Path) -> Result<Vec<String>> {
    logged_once(out, "\"loss\":", 1..=STEPS)
}

/// The steps whose entry with a key the log has more than once, or not at all.
pub fn logged_once(out: &Path, key: &str, steps: impl Iterator<Item = u32>) -> Result<Vec<String>> {
    let path = out.join("log.jsonl");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let count = |step: u32| {
        let step = format!("\"step\":{step},");
        text.lines().filter(|line| line.contains(&step) && line.contains(key)).count()
    };
    let wrong = steps.map(|step| (step, count(step))).filter(|(_, count)| *count != 1);
    Ok(wrong.map(|(step, count)| format!("{key} of step {step} is logged {count} times")).collect())
}

/// The last training step in the log; 0 for none.
pub fn last_logged_step(out: &Path) -> u32 {
    let text = fs::read_to_string(out.join("log.jsonl")).unwrap_or_default();
    (1..=STEPS).rev().find(|step| text.contains(&format!("\"step\":{step},"))).unwrap_or(0)
}

/// A seed that differs from start to start.
pub fn time_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64 | 1
}

/// Random numbers for moments and distances. The seed is printed.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let seed = time_seed();
        println!("seed {seed}");
        Random(seed)
    }

    /// The numbers of one case of a campaign.
    pub fn of_case(seed: u64, case: u64) -> Random {
        // The finalizer of splitmix64, so that neighboring cases have unrelated numbers.
        let mut z = seed.wrapping_add(case.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random(z ^ (z >> 31))
    }

    /// An integer in 0..count.
    pub fn below(&mut self, count: usize) -> usize {
        (self.uniform() * count as f64) as usize
    }

    /// Uniform in 0..1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
