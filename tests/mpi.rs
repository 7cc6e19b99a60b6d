//! Processes that `mpirun` starts:
//!
//!     make mpi
//!
//! tests/it/ranks.rs checks what ranks compute together, with threads instead of processes.

#[path = "common/run.rs"]
#[allow(dead_code)] // shared with the other tests
mod run;

use degrain::gpu::Context;
use degrain::train::{Outcome, Settings, Size, Trainer};
use run::files;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
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

/// The command that starts a program on ranks of this machine, which may be more than its cores.
fn mpirun(ranks: usize, program: &str, options: &[&str]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string(), program]).args(options);
    command.stdin(Stdio::null());
    for (name, value) in [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        // Open MPI 4 and 5.
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ("LP_NUM_THREADS", "1"),
    ] {
        command.env(name, value);
    }
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
    let output = mpirun(ranks, TRAIN, &options).output().expect("mpirun is installed: make mpi installs it");
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
        assert_eq!(printed.matches("warning: 2 ranks share 1 device").count(), 1, "{printed}");
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
            let output = mpirun(ranks, SAMPLE, &options).output().unwrap();
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
        let mut command = mpirun(2, SAMPLE, &options);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let (whole, stopped) = (path("whole.npz"), path("stopped.npz"));
    let output = command(&whole).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let all = command(&stopped).spawn().unwrap();
    let part = folder.path().join("stopped.npz.part");
    let begun = Instant::now();
    // The header and a few batches.
    while fs::metadata(&part).map_or(0, |part| part.len()) < 8000 {
        assert!(begun.elapsed() < Duration::from_secs(120), "a batch was finished");
        std::thread::sleep(Duration::from_millis(20));
    }
    let rank = children(all.id())[1];
    assert!(Command::new("kill").args(["-INT", &rank.to_string()]).status().unwrap().success());
    let output = all.wait_with_output().unwrap();
    let printed = text(&output);
    assert!(!output.status.success() && printed.contains("The same command continues there"), "{printed}");
    assert!(!Path::new(&stopped).exists(), "{printed}");
    let output = command(&stopped).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
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

/// The samples, their features, the likelihoods, the nearest images and the classification accuracy
/// score, of a denoiser and of a VAE.
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
        // Rank 0 evaluates, samples and fits the latents of the VAE while the other waits.
        let measured = Settings {
            steps: Some(10),
            data: Some(data.clone()),
            sample_every: Some(5),
            evaluate_every: Some(5),
            evaluate_count: Some(70),
            feature_extractor: Some(extractor.clone().into()),
            ..settings(preset, &run)
        };
        train(2, &measured, None);
        let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
        assert_eq!(log.matches("\"frechet_distance\":").count(), 2, "{log}");
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
            let output = mpirun(ranks, EVALUATE, &options.concat()).output().unwrap();
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

#[test]
fn rank_that_fails_ends_all_with_its_message() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("log.jsonl"), "not of a run").unwrap();
    let out = run.display().to_string();
    let options = ["--data", &run::digits().display().to_string(), "--size", "tiny", "--batch", "6", "--out", &out];
    let output = mpirun(2, TRAIN, &options).output().unwrap();
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
    let mut command = mpirun(1, TRAIN, &[&options[..], &["--data", &data]].concat());
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
    let text = text(&mpirun(3, TRAIN, &options).output().unwrap());
    assert!(text.contains("3 ranks cannot divide it into equal parts. Use --batch 6 or 9"), "{text}");
}

/// The processes that `mpirun` started.
fn children(mpirun: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{mpirun}/task/{mpirun}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process runs. One that has ended waits for its parent as a zombie.
fn is_running(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
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
        let mut command = mpirun(2, TRAIN, &["--config", &config.display().to_string()]);
        let mut all = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while !run.join("checkpoint-10").is_dir() {
            assert!(begun.elapsed() < Duration::from_secs(120), "a checkpoint was written");
            std::thread::sleep(Duration::from_millis(50));
        }
        let ranks = children(all.id());
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        let status = Command::new("kill").args(["-9", &ranks[rank].to_string()]).status().unwrap();
        assert!(status.success());
        let killed = Instant::now();
        // mpirun can end shortly before the ranks that it kills.
        while all.try_wait().unwrap().is_none() || ranks.iter().any(|&rank| is_running(rank)) {
            assert!(killed.elapsed() < END, "the others end when rank {rank} was killed");
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = all.wait_with_output().unwrap();
        assert!(!output.status.success() && text(&output).contains("signal 9"), "{}", text(&output));
        let last = degrain::checkpoint::checkpoints(&run).unwrap().last().unwrap().0;
        train(2, &settings, Some(last + 1));
    }
}
