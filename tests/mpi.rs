//! Processes that `mpirun` starts:
//!
//!     make mpi
//!
//! tests/it/ranks.rs checks what ranks compute together, with threads instead of processes.

#[path = "common/mpirun.rs"]
mod mpirun;
#[path = "common/run.rs"]
#[allow(dead_code)] // shared with the other tests
mod run;

use degrain::gpu::{Context, best_adapters};
use degrain::train::{Outcome, Settings, Size, Trainer};
use mpirun::{children, is_running, mpirun};
use run::files;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Time in which the other ranks end after one was killed.
const END: Duration = Duration::from_secs(10);

/// A run of 20 steps at size `tiny`, with checkpoints.
fn settings(preset: &str, out: &Path) -> Settings {
    Settings {
        preset: Some(preset.into()),
        size: Some(Size::Tiny),
        data: Some(run::digits().into()),
        out: Some(out.into()),
        steps: Some(20),
        batch: Some(6),
        validation_count: Some(10),
        validate_every: Some(10),
        sample_every: Some(1000),
        checkpoint_every: Some(10),
        sampling_steps: Some(2),
        ..Settings::default()
    }
}

const TRAIN: &str = env!("CARGO_BIN_EXE_train");
const SAMPLE: &str = env!("CARGO_BIN_EXE_sample");
const EVALUATE: &str = env!("CARGO_BIN_EXE_evaluate");

/// The command that starts a program with options on ranks of this machine. Its kernels use one
/// thread.
fn on_ranks(ranks: usize, program: &str, options: &[&str]) -> Command {
    let mut command = mpirun(ranks, program);
    command.args(options).stdin(Stdio::null()).env("LP_NUM_THREADS", "1");
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Starts a run on several ranks, or continues it if there is one. Returns what they printed.
#[track_caller]
fn train(ranks: usize, settings: &Settings, stop_after: Option<u32>) -> String {
    let out = settings.out.as_ref().unwrap();
    let stop = stop_after.map_or(vec![], |step| vec!["--stop-after".to_owned(), step.to_string()]);
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("settings.toml");
    fs::write(&config, toml::to_string(settings).unwrap()).unwrap();
    let from = if out.exists() { ["--resume".into(), out.clone()] } else { ["--config".into(), config] };
    let from = from.map(|word| word.display().to_string());
    // The library, with which a test compares, does not measure which kernels are fastest.
    let kernels = ["--kernels".to_owned(), "default".to_owned()];
    let options: Vec<&str> = from.iter().chain(&stop).chain(&kernels).map(String::as_str).collect();
    let output = on_ranks(ranks, TRAIN, &options).output().expect("mpirun is installed: make mpi installs it");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    text
}

/// The weights and the state of a checkpoint.
fn weights(run: &Path, step: u32) -> Vec<(String, Vec<u8>)> {
    let mut all = files(&run.join(format!("checkpoint-{step}")));
    all.retain(|(name, _)| name.ends_with(".safetensors"));
    assert!(all.len() >= 2, "the weights and the training state");
    all
}

#[track_caller]
fn same_weights(a: &Path, b: &Path, step: u32) {
    for ((name, a), (_, b)) in weights(a, step).iter().zip(&weights(b, step)) {
        assert!(a == b, "{name} differs");
    }
}

fn folders<const N: usize>() -> [TempDir; N] {
    [(); N].map(|()| TempDir::new().unwrap())
}

#[test]
fn one_rank_trains_as_a_process_without_mpi() {
    let folders: [TempDir; 2] = folders();
    let [with, without] = folders.each_ref().map(|folder| folder.path().join("run"));
    train(1, &settings("ddpm", &with), None);
    degrain::cli::disable_device_select();
    let mut trainer = Trainer::new(&Context::open(None).unwrap(), settings("ddpm", &without)).unwrap();
    assert_eq!(trainer.run(&AtomicBool::new(false)).unwrap(), Outcome::Finished);
    same_weights(&with, &without, 20);
}

/// Also of batch normalization and of importance sampling.
#[test]
fn runs_of_two_ranks_are_equal_and_resume_bit_for_bit() {
    for preset in ["ddpm", "residual-attention", "hybrid"] {
        let folders: [TempDir; 2] = folders();
        let [whole, resumed] = folders.each_ref().map(|folder| folder.path().join("run"));
        let printed = train(2, &settings(preset, &whole), None);
        let shared = usize::from(best_adapters().len() == 1);
        assert_eq!(printed.matches("warning: 2 ranks share 1 device").count(), shared, "{printed}");
        train(2, &settings(preset, &resumed), Some(7));
        train(2, &settings(preset, &resumed), None);
        same_weights(&whole, &resumed, 20);
    }
}

#[test]
fn run_continues_on_another_number_of_ranks() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = settings("ddpm", &run);
    for (ranks, step) in [(2, 7), (3, 13), (1, 20)] {
        let printed = train(ranks, &settings, (step < 20).then_some(step));
        let end = if step < 20 { "stopped after step" } else { "finished: " };
        assert_eq!(printed.matches(end).count(), 1, "only one rank prints: {printed}");
    }
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let steps = log.lines().filter(|line| line.contains("\"gradient_norm\"")).count();
    assert_eq!(steps, 20, "{log}");
}

/// Images of both models, and the states of an animation.
#[test]
fn samples_of_three_ranks_equal_those_of_one() {
    let folder = TempDir::new().unwrap();
    for (preset, out, count) in [("ddpm", "samples.npz", "23"), ("ddpm", "few.apng", "3"), ("vae", "latents.npz", "23")]
    {
        let run = folder.path().join(preset);
        if !run.exists() {
            train(1, &Settings { steps: Some(10), ..settings(preset, &run) }, None);
        }
        let [one, three] = [1, 3].map(|ranks| {
            let out = folder.path().join(format!("{ranks}-{out}"));
            let steps = if preset == "ddpm" { &["--steps", "3"][..] } else { &[] };
            let [run, path] = [&run, &out].map(|path| path.display().to_string());
            let options =
                [&["--checkpoint", &run, "--count", count, "--batch", "4", "--out", &path][..], steps].concat();
            let output = on_ranks(ranks, SAMPLE, &options).output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
            fs::read(out).unwrap()
        });
        assert!(one == three, "{out}");
    }
}

/// Ctrl-C of one rank stops all after a batch, and the same command continues there.
#[test]
#[cfg(target_os = "linux")]
fn interrupted_samples_of_two_ranks_continue() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(1, &Settings { steps: Some(10), ..settings("ddpm", &run) }, None);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let command = |out: &str| {
        let options = ["--checkpoint", &path("run"), "--count", "80", "--batch", "2", "--steps", "20", "--out", out];
        on_ranks(2, SAMPLE, &options)
    };
    let (whole, stopped) = (path("whole.npz"), path("stopped.npz"));
    let output = command(&whole).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let all = Running::start(command(&stopped));
    let part = folder.path().join("stopped.npz.part");
    // A line, and then the images.
    let images = |part: Vec<u8>| part.iter().position(|&byte| byte == b'\n').map_or(0, |end| (part.len() - end) / 784);
    let all = all.wait_until(|| fs::read(&part).is_ok_and(|part| images(part) >= 4));
    let ranks = children(all.mpirun.id());
    assert_eq!(ranks.len(), 2, "{ranks:?}");
    assert!(Command::new("kill").args(["-TERM", &ranks[1]]).status().unwrap().success());
    let output = all.output();
    let printed = text(&output);
    assert!(!output.status.success() && printed.contains("The same command continues there"), "{printed}");
    assert!(!Path::new(&stopped).exists(), "{printed}");
    let output = command(&stopped).output().unwrap();
    let printed = text(&output);
    assert!(output.status.success() && printed.contains(": continues after "), "{printed}");
    assert!(fs::read(whole).unwrap() == fs::read(stopped).unwrap());
}

/// A folder with 256 training images and 256 test images of MNIST.
fn two_splits(folder: &Path) {
    run::copy(run::digits(), folder);
    let test = degrain::data::load(&run::mnist(), degrain::data::Split::Test).unwrap();
    let labels: Vec<u8> = test.labels[..256].iter().map(|&label| label as u8).collect();
    fs::write(folder.join("t10k-images-idx3-ubyte"), run::idx(&[256, 28, 28], &test.images[..256 * 784])).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte"), run::idx(&[256], &labels)).unwrap();
}

/// Removes the numbers that depend on the clock.
fn without_times(value: &mut serde_json::Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !key.contains("second"));
        object.values_mut().for_each(without_times);
    }
    value.as_array_mut().into_iter().flatten().for_each(without_times);
}

/// The samples, their features, the likelihoods and the nearest images, of a denoiser and of a VAE.
/// Also the classification accuracy score of the denoiser.
#[test]
fn evaluation_by_three_ranks_equals_that_of_one() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    two_splits(&data);
    let extractor = folder.path().join("classifier");
    let classifier = Settings { noise_aware: Some(false), ..settings("classifier", &extractor) };
    train(1, &Settings { steps: Some(10), data: Some(data.clone()), ..classifier }, None);
    let extractor = extractor.display().to_string();
    for preset in ["ddpm", "vae"] {
        let run = folder.path().join(preset);
        train(1, &Settings { steps: Some(10), data: Some(data.clone()), ..settings(preset, &run) }, None);
        let [one, three] = [1, 3].map(|ranks| {
            let out = folder.path().join(format!("{preset}-{ranks}"));
            let cache = folder.path().join(format!("{preset}-{ranks}-features"));
            let [run, out_word, cache] = [&run, &out, &cache].map(|path| path.display().to_string());
            let steps = if preset == "ddpm" {
                &["--steps", "3", "--balance-count", "70", "--cas-steps", "5"][..]
            } else {
                &["--cas-steps", "0"]
            };
            let options = [
                &["--checkpoint", &run, "--out", &out_word, "--feature-cache", &cache, "--count", "100"][..],
                &[
                    "--feature-extractor",
                    &extractor,
                    "--batch",
                    "16",
                    "--likelihood-images",
                    "40",
                    "--nearest-count",
                    "20",
                ],
                steps,
            ];
            let output = on_ranks(ranks, EVALUATE, &options.concat()).output().unwrap();
            let printed = text(&output);
            assert!(output.status.success(), "{printed}");
            assert_eq!(printed.matches("evaluation.json\n").count(), 1, "only one rank prints: {printed}");
            let mut evaluation = serde_json::from_slice(&fs::read(out.join("evaluation.json")).unwrap()).unwrap();
            without_times(&mut evaluation);
            assert!(evaluation["likelihood"].as_array().is_some_and(|splits| splits.len() == 2), "{evaluation}");
            (evaluation, fs::read(out.join("grid.png")).unwrap(), fs::read(out.join("closest.png")).unwrap())
        });
        assert_eq!(one.0, three.0, "{preset}");
        assert!(one.1 == three.1 && one.2 == three.2, "the pictures of {preset}");
    }
}

/// Rank 0 evaluates, samples and fits the latents of the VAE while the other waits.
#[test]
fn two_ranks_train_with_evaluations() {
    let folder = TempDir::new().unwrap();
    let extractor = folder.path().join("classifier");
    train(1, &Settings { noise_aware: Some(false), ..settings("classifier", &extractor) }, None);
    for preset in ["ddpm", "vae"] {
        let run = folder.path().join(preset);
        let settings = Settings {
            sample_every: Some(10),
            evaluate_every: Some(10),
            evaluate_count: Some(70),
            feature_extractor: Some(extractor.clone()),
            ..settings(preset, &run)
        };
        train(2, &settings, None);
        let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
        assert_eq!(log.matches("\"frechet_distance\":").count(), 2, "{log}");
        assert!(run.join("samples/ema-000020.png").is_file());
        let mixture = run.join("checkpoint-20/latent_mixture.safetensors");
        assert_eq!(mixture.is_file(), preset == "vae");
    }
}

#[test]
fn rank_that_fails_ends_all_with_its_message() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("log.jsonl"), "not of a run").unwrap();
    let out = run.display().to_string();
    let options = ["--data", &run::digits().display().to_string(), "--size", "tiny", "--batch", "6", "--out", &out];
    let output = on_ranks(2, TRAIN, &options).output().unwrap();
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("error: rank 0: ") && text.contains("does not belong to a run"), "{text}");
}

/// The other ranks discard their output, except such errors.
#[test]
fn error_of_another_rank_is_printed_with_its_number() {
    let folder = TempDir::new().unwrap();
    let (data, out) = (run::digits().display().to_string(), folder.path().join("run").display().to_string());
    let missing = folder.path().join("missing").display().to_string();
    let options = ["--size", "tiny", "--batch", "6", "--out", &out];
    let mut command = on_ranks(1, TRAIN, &[&options[..], &["--data", &data]].concat());
    command.args([":", "-n", "1", TRAIN]).args(options).args(["--data", &missing]);
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("error: rank 1: ") && text.contains(&missing), "{text}");
    assert!(!folder.path().join("run").exists(), "nothing was written");
}

#[test]
fn batch_that_ranks_cannot_divide_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run").display().to_string();
    let options = ["--data", &run::digits().display().to_string(), "--size", "tiny", "--batch", "8", "--out", &out];
    let text = text(&on_ranks(3, TRAIN, &options).output().unwrap());
    assert!(text.contains("3 ranks cannot divide it into equal parts. Use --batch 6 or 9"), "{text}");
}

/// A command that runs. It is killed if a test panics.
#[cfg(target_os = "linux")]
struct Running {
    mpirun: Child,
}

#[cfg(target_os = "linux")]
impl Running {
    fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { mpirun: command.spawn().expect("mpirun is installed: make mpi installs it") }
    }

    fn is_running(&mut self) -> bool {
        self.mpirun.try_wait().unwrap().is_none()
    }

    /// Waits until a condition holds. Fails if the command ends before.
    #[track_caller]
    fn wait_until(mut self, holds: impl Fn() -> bool) -> Running {
        while !holds() {
            assert!(self.is_running(), "it ended early: {}", text(&self.output()));
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Waits until it ends.
    fn output(mut self) -> Output {
        let (mut stdout, mut stderr) = (vec![], vec![]);
        let (out, err) = (self.mpirun.stdout.take(), self.mpirun.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(|| out.unwrap().read_to_end(&mut stdout).unwrap());
            err.unwrap().read_to_end(&mut stderr).unwrap();
        });
        Output { status: self.mpirun.wait().unwrap(), stdout, stderr }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.mpirun.kill(); // It may have ended.
    }
}

/// `xtask reliability ranks` kills ranks at many more moments.
#[test]
#[cfg(target_os = "linux")]
fn killed_rank_ends_the_others_and_the_checkpoint_resumes() {
    for rank in [1, 0] {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("run");
        let config = folder.path().join("settings.toml");
        let settings = Settings { steps: Some(100_000), keep_checkpoints: Some(2), ..settings("ddpm", &run) };
        fs::write(&config, toml::to_string(&settings).unwrap()).unwrap();
        let all = Running::start(on_ranks(2, TRAIN, &["--config", &config.display().to_string()]));
        let mut all = all.wait_until(|| run.join("checkpoint-10").is_dir());
        let ranks = children(all.mpirun.id());
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        let status = Command::new("kill").args(["-9", &ranks[rank]]).status().unwrap();
        assert!(status.success());
        let killed = Instant::now();
        // mpirun can end shortly before the ranks that it kills.
        while all.is_running() || ranks.iter().any(|rank| is_running(rank)) {
            assert!(killed.elapsed() < END, "the others end when rank {rank} was killed");
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = all.output();
        assert!(!output.status.success() && text(&output).contains("signal 9"), "{}", text(&output));
        let last = degrain::checkpoint::checkpoints(&run).unwrap().last().unwrap().0;
        train(2, &settings, Some(last + 1));
    }
}
