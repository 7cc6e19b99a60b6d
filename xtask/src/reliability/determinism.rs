//! Trains every preset twice for a few steps on one driver: checkpoints and losses must be equal bit
//! for bit. Then compares them with the results of other drivers in the same folder.

use super::Result;
use super::runs;
use degrain::checkpoint::Checkpoint;
use degrain::output::jsonl;
use degrain::train::{LogEntry, presets};
use std::fs;
use std::path::{Path, PathBuf};

/// Steps of a run.
const STEPS: u32 = 20;
/// The learning rate, which is constant.
const LEARNING_RATE: f64 = 2e-3;

/// A narrow network of any preset.
fn settings_toml() -> String {
    format!(
        "size = \"tiny\"\nsteps = {STEPS}\nbatch = 4\nlr = {LEARNING_RATE}\nwarmup = 0\nlr_schedule = \"constant\"\n\
         timesteps = 50\nblock_out_channels = [8, 8]\nattention = [false, true]\nnorm_num_groups = 4\n\
         condition_channels = 4\nhidden_channels = 8\nvalidation_count = 10\nvalidate_every = {STEPS}\n\
         sample_every = {STEPS}\ncheckpoint_every = {STEPS}\nsampling_steps = 3\nlatent_components = 0\n"
    )
}

/// Relative difference of the first losses that rounding may make.
const FIRST_LOSS: f64 = 1e-5;

/// The most that Adam changes a weight in all steps, for any gradients. In step t it is lr times
/// (1 - beta1) / sqrt(1 - beta2), times sqrt(1 - beta2^t) / (1 - beta1^t), times the square root of the
/// sum of (beta1^2 / beta2)^k for k < t, by the inequality of Cauchy and Schwarz. Weight decay adds far
/// less.
fn largest_change() -> f64 {
    let (beta1, beta2) = (0.9f64, 0.99f64);
    let of_step = |t: u32| {
        let bias = (1.0 - beta2.powi(t as i32)).sqrt() / (1.0 - beta1.powi(t as i32));
        let sum: f64 = (0..t).map(|k| (beta1 * beta1 / beta2).powi(k as i32)).sum();
        LEARNING_RATE * (1.0 - beta1) / (1.0 - beta2).sqrt() * bias * sum.sqrt()
    };
    (1..=STEPS).map(of_step).sum()
}

/// Every preset, and variants with their options.
fn variants() -> Vec<(String, Vec<&'static str>)> {
    let mut all: Vec<_> = presets::NAMES.iter().map(|&name| (name.to_string(), vec!["--preset", name])).collect();
    for process in ["sub_vp", "ve"] {
        all.push((format!("score-{process}"), vec!["--preset", "score", "--process", process]));
    }
    all.push(("vae-bernoulli".into(), vec!["--preset", "vae", "--likelihood", "bernoulli"]));
    all
}

/// Trains on the driver that the environment chooses, and keeps the results under `name`.
pub fn run(name: &str) -> Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
        return Err(format!("`{name}`: the name of a driver has letters, digits, - and _ only"));
    }
    let root = Path::new("target/reliability/determinism");
    let folder = root.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut problems = vec![];
    for (variant, options) in variants() {
        let [first, second] = ["", "-again"].map(|end| folder.join(format!("{variant}{end}")));
        for out in [&first, &second] {
            let output = runs::start_with(out, &settings_toml())?.args(&options).output().map_err(|e| e.to_string())?;
            if !output.status.success() {
                return Err(format!("{variant}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
        }
        let equal = content(&first)? == content(&second)? && losses(&first)? == losses(&second)?;
        println!("{variant}: {}", if equal { "equal bits" } else { "the two runs differ" });
        if !equal {
            problems.push(format!("{variant}: two runs of {name} differ"));
        }
    }
    let others = fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))?;
    for other in others {
        let other = other.map_err(|e| e.to_string())?.path();
        if other != folder {
            problems.extend(compare(&folder, &other)?);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// The files of weights and state in the last checkpoint of a run: their names and bytes.
fn content(run: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let checkpoint = run.join(format!("checkpoint-{STEPS}"));
    let folders = [checkpoint.clone(), checkpoint.join("unet"), checkpoint.join("model")];
    let mut files = vec![];
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            if path.extension().is_some_and(|end| end == "safetensors") {
                let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                files.push((path.strip_prefix(run).unwrap_or(&path).to_path_buf(), bytes));
            }
        }
    }
    files.sort();
    if files.len() == 2 { Ok(files) } else { Err(format!("{}: {} files of weights", run.display(), files.len())) }
}

/// The losses of all steps.
fn losses(run: &Path) -> Result<Vec<f64>> {
    let entries: Vec<LogEntry> = jsonl::read(&run.join("log.jsonl")).map_err(|e| e.to_string())?;
    let loss = |entry: &LogEntry| match entry {
        LogEntry::Step { loss, .. } => Some(*loss),
        _ => None,
    };
    let losses: Vec<f64> = entries.iter().filter_map(loss).collect();
    if losses.len() == STEPS as usize { Ok(losses) } else { Err(format!("{}: {} steps", run.display(), losses.len())) }
}

/// Prints how far the results of two drivers are apart (losses: relative), and returns those that are
/// too far apart.
///
/// Whatever the rounding, the weights are not further apart than Adam can move them. The losses of the
/// first step have the same weights, so they differ by rounding errors only.
fn compare(own: &Path, other: &Path) -> Result<Vec<String>> {
    let bound = 2.0 * largest_change();
    let names = [own, other].map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    println!("\n| {} and {} | loss of step 1 | largest difference of a loss | of a weight |", names[0], names[1]);
    println!("|---|---|---|---|");
    let mut problems = vec![];
    for (variant, _) in variants() {
        let runs = [own.join(&variant), other.join(&variant)];
        if !runs[1].is_dir() {
            continue;
        }
        let [a, b] = [losses(&runs[0])?, losses(&runs[1])?];
        let relative: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / a.abs()).collect();
        // Without the running statistics, which Adam does not change.
        let weights = |run: &Path| -> Result<Vec<f32>> {
            let Checkpoint { model, mut weights, .. } = Checkpoint::open(run).map_err(|e| e.to_string())?;
            weights.truncate(model.model().parameters().flat_shape().len());
            Ok(weights)
        };
        let [a, b] = [weights(&runs[0])?, weights(&runs[1])?];
        let weight = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        let loss = relative.iter().copied().fold(0.0, f64::max);
        println!("| `{variant}` | {:.1e} | {loss:.1e} | {weight:.1e} |", relative[0]);
        let finite = a.iter().chain(&b).all(|x| x.is_finite()) && relative.iter().all(|x| x.is_finite());
        if a.len() != b.len() || !finite || weight > bound || relative[0] > FIRST_LOSS {
            problems.push(format!(
                "{variant}: weights or losses are not finite, or further apart than {bound:.3} and {FIRST_LOSS}"
            ));
        }
    }
    Ok(problems)
}
