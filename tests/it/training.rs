//! Whole training runs: they lower the loss, two runs are equal bit for bit, and a pause, a killed
//! process or a gradient that is not finite costs only the steps since the last checkpoint.

use super::runs::{Part, REST, WHOLE, checkpoint, first, same_files, train, try_train};
use crate::common::context;
use crate::common::run::{copy, files, mnist};
use crate::common::small::small;
use degrain::Error;
use degrain::checkpoint::{Checkpoint, checkpoints};
use degrain::files::{DiskFault, inject};
use degrain::nn::PARAMETERS;
use degrain::train::{EMA, LrSchedule, Outcome, Settings, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// A small run of the preset ddpm.
fn run_settings(out: &Path, steps: u32) -> Settings {
    Settings { out: Some(out.into()), steps: Some(steps), ..small("ddpm") }
}

/// The entries of log.jsonl, without the values that depend on the clock.
fn log(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("log.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let entry = value.as_object_mut().unwrap();
        entry.remove("images_per_second");
        entry.remove("seconds").expect("every entry has the seconds spent");
        value
    };
    text.lines().map(line).collect()
}

/// The values of a key in the entries that have it, with their steps.
fn series(log: &[Value], key: &str) -> Vec<(u64, f64)> {
    log.iter().filter_map(|line| Some((line["step"].as_u64()?, line.get(key)?.as_f64()?))).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Trains on the whole of MNIST, and looks at the files of the run.
#[test]
fn training_lowers_the_loss_in_fifty_steps() {
    let (ctx, run) = (context(), TempDir::new().unwrap());
    let run = run.path();
    let settings = Settings {
        data: Some(mnist()),
        batch: Some(8),
        block_out_channels: Some(vec![8, 16]),
        attention: Some(vec![false, true]),
        validate_every: Some(25),
        checkpoint_every: Some(10),
        sample_every: Some(50),
        keep_checkpoints: Some(2),
        ..run_settings(run, 50)
    };
    let trainer = train(&ctx, settings, WHOLE);

    let log = log(run);
    let losses = series(&log, "loss");
    assert_eq!(losses.iter().map(|&(step, _)| step).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let mean = |part: &[(u64, f64)]| part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[40..]));
    println!("the loss falls from {first:.3} to {last:.3}");
    assert!(last < 0.8 * first, "the loss only falls from {first} to {last}");

    let validation = series(&log, "validation_loss");
    assert_eq!(validation.iter().map(|&(step, _)| step).collect::<Vec<_>>(), [25, 50]);
    assert!(validation[1].1 < validation[0].1, "the validation loss does not fall: {validation:?}");
    for line in &log {
        let (key, images) = if line.get("loss").is_some() { ("loss", 8.0) } else { ("validation", 10.0) };
        let quarters = line[format!("{key}_by_quarter")].as_array().expect("every line has the loss by quarter");
        let total = line[if key == "loss" { "loss" } else { "validation_loss" }].as_f64().unwrap();
        let some: Vec<f64> = quarters.iter().filter_map(Value::as_f64).collect();
        assert!(quarters.len() == 4 && !some.is_empty());
        // The mean is between the smallest and the largest mean of a quarter.
        let (low, high) = some.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        let slack = images * 1e-6;
        assert!(low - slack <= total && total <= high + slack, "{line}");
    }

    let kept: Vec<u32> = checkpoints(run).unwrap().into_iter().map(|(step, _)| step).collect();
    assert_eq!(kept, [40, 50], "the last two checkpoints are kept");
    let hidden = |name: &str| (name.starts_with('.') || name.contains("/.")) && name != ".lock";
    let all: BTreeSet<String> = files(run).into_iter().map(|(name, _)| name).collect();
    assert!(!all.iter().any(|name| hidden(name)), "half-written files are left: {all:?}");
    for name in [
        "config.toml",
        "manifest.json",
        "loss.png",
        "loss.svg",
        "forward.png",
        "reverse.png",
        "samples/ema-000050.png",
        "samples/raw-000050.png",
    ] {
        assert!(all.contains(name), "{name} is not among {all:?}");
    }
    assert!(all.iter().any(|name| name.contains("tfevents")));

    let saved = Checkpoint::open(&run.join("checkpoint-50")).unwrap();
    assert_eq!(saved.warnings, [""; 0]);
    assert_eq!(saved.model.model().config_json(), trainer.objective().model().config_json());
    assert_eq!((saved.metadata.step, saved.metadata.class_names.len()), (50, 10));
    let values = |name| trainer.context().read::<f32>(name, 0, saved.weights.len()).unwrap();
    for p in saved.model.model().parameters().iter() {
        assert_eq!(bits(&saved.weights[p.range()]), bits(&values(EMA)[p.range()]), "{}", p.name);
    }
    assert_ne!(bits(&saved.weights), bits(&values(PARAMETERS)), "the average is not the parameters");
}

#[test]
fn training_with_equal_seeds_is_equal_bit_for_bit() {
    let ctx = context();
    let run = |seed| {
        let folder = TempDir::new().unwrap();
        train(&ctx, Settings { seed: Some(seed), ..run_settings(folder.path(), 100) }, first(8));
        (checkpoint(folder.path(), 8), log(folder.path()))
    };
    let ((first, first_log), (second, second_log), (other, _)) = (run(3), run(3), run(4));
    same_files(&first, &second);
    assert_eq!(first_log, second_log);
    let state = |files: &[(String, Vec<u8>)]| files.iter().find(|(name, _)| name.contains("training_state")).cloned();
    assert_ne!(state(&first), state(&other), "the seed has no effect");
}

/// A run that was stopped and resumed equals one that was not, also if a killed process left a
/// partial log entry and a partial checkpoint.
#[test]
fn resume_continues_bit_for_bit() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [whole, paused] = ["whole", "paused"].map(|name| folder.path().join(name));
    // The run is longer than an epoch, so that a second permutation of the images follows.
    let settings = |out: &Path| Settings {
        batch: Some(25),
        validation_count: Some(6),
        checkpoint_every: Some(7),
        keep_checkpoints: Some(9),
        lr_schedule: Some(LrSchedule::Cosine),
        ..run_settings(out, 14)
    };
    train(&ctx, settings(&whole), WHOLE);
    train(&ctx, settings(&paused), first(7));
    same_files(&checkpoint(&paused, 7), &checkpoint(&whole, 7));

    let lines = fs::read_to_string(whole.join("log.jsonl")).unwrap();
    let later: Vec<&str> = lines.lines().filter(|line| line.starts_with(r#"{"step":8,"#)).collect();
    let mut text = fs::read_to_string(paused.join("log.jsonl")).unwrap();
    text += &format!("{}\n{}", later[0].replace("0.", "9."), &later[0][..20]);
    fs::write(paused.join("log.jsonl"), text).unwrap();
    let manifest = fs::read_to_string(paused.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let name = manifest["run"].as_str().unwrap();
    let [partial, foreign] = [name, "other"].map(|name| paused.join(format!(".{name}.checkpoint-8.partial")));
    for folder in [&partial, &foreign] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("training_state.safetensors"), [0; 100]).unwrap();
    }

    train(&ctx, settings(&paused), REST);
    same_files(&checkpoint(&paused, 14), &checkpoint(&whole, 14));
    assert_eq!(log(&paused), log(&whole), "each step once, and the same");
    assert_eq!(series(&log(&paused), "loss").len(), 14);
    assert!(!partial.exists(), "the half-written checkpoint is still there");
    assert!(foreign.exists(), "a folder that the run did not write was removed");
}

/// A new run in another folder goes on exactly where the run was, and the run stays as it is.
#[test]
fn fork_continues_bit_for_bit_and_leaves_the_run_as_it_was() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, again, new, older] = ["run", "again", "new", "older"].map(|name| folder.path().join(name));
    let settings =
        |out: &Path| Settings { checkpoint_every: Some(4), keep_checkpoints: Some(9), ..run_settings(out, 12) };
    train(&ctx, settings(&run), first(8));
    let before = files(&run);
    copy(&run, &again);
    train(&ctx, settings(&again), REST);

    let fork = |out: &Path, step: Option<u32>| {
        let mut trainer = Trainer::new(&ctx, settings(out)).unwrap().fork(&run, step).unwrap();
        assert!(!out.exists(), "the new run has begun before it was started");
        assert_eq!(trainer.run(&AtomicBool::new(false)).unwrap(), Outcome::Finished);
    };
    fork(&new, None);
    fork(&older, Some(4));
    assert!(files(&run) == before, "the run has changed");
    for new in [&new, &older] {
        same_files(&checkpoint(new, 12), &checkpoint(&again, 12));
        assert_eq!(log(new), log(&again), "the log is whole");
    }
    // The checkpoint that it started from is also its first.
    same_files(&checkpoint(&new, 8), &checkpoint(&run, 8));
    assert!(!older.join("abandoned-checkpoint-8").exists() && !older.join("abandoned-log-8.jsonl").exists());
    let events = files(&new).into_iter().find(|(name, _)| name.contains("tfevents")).unwrap().1;
    assert_eq!(
        String::from_utf8_lossy(&events).matches("gradient_norm").count(),
        12,
        "the curve of TensorBoard is whole"
    );

    let manifest = |run: &Path| -> Value {
        serde_json::from_str(&fs::read_to_string(run.join("manifest.json")).unwrap()).unwrap()
    };
    let (own, origin) = (manifest(&run), &manifest(&new)["origin"]);
    assert!(own.get("origin").is_none());
    assert_ne!(manifest(&new)["run"], own["run"], "two runs have one name");
    assert_eq!((&origin["run"], &origin["step"], &origin["taken"]), (&own["run"], &8.into(), &"state".into()));
    assert_eq!(origin["path"], run.join("checkpoint-8").to_str().unwrap());

    // A resumption needs the origin no more, and keeps it in the manifest.
    fs::remove_dir_all(&run).unwrap();
    train(&ctx, Settings { steps: Some(13), ..settings(&new) }, REST);
    assert_eq!(&manifest(&new)["origin"], origin);
}

/// A batch has all noise levels, so also few validation images are measured at all of them.
#[test]
fn validation_of_few_images_has_all_noise_levels() {
    let (ctx, run) = (context(), TempDir::new().unwrap());
    let settings =
        Settings { batch: Some(16), validation_count: Some(3), validate_every: Some(1), ..run_settings(run.path(), 1) };
    train(&ctx, settings, WHOLE);
    let log = log(run.path());
    let quarters = log.iter().find_map(|line| line.get("validation_by_quarter")).unwrap().as_array().unwrap();
    assert!(quarters.iter().all(Value::is_f64), "{quarters:?}");
}

/// The disk is full when the log is kept: the later checkpoints have their names yet, so that the
/// next start keeps the log.
#[test]
fn log_is_kept_before_later_checkpoints_are_renamed() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let run = folder.path().join("run");
    let settings = || Settings { checkpoint_every: Some(4), keep_checkpoints: Some(9), ..run_settings(&run, 12) };
    train(&ctx, settings(), first(8));
    let mut trainer = Trainer::new(&ctx, settings()).unwrap().resume_from(4).unwrap();
    // Enough for the lock.
    inject(Some(DiskFault::Full(100)));
    let problem = trainer.run(&AtomicBool::new(false));
    inject(None);
    let problem = problem.unwrap_err().to_string();
    assert!(problem.contains("abandoned-log-8.jsonl"), "{problem}");
    assert!(run.join("checkpoint-8").is_dir());
    let mut trainer = Trainer::new(&ctx, settings()).unwrap().resume_from(4).unwrap();
    trainer.run(&AtomicBool::new(false)).unwrap();
    assert!(run.join("abandoned-log-8.jsonl").is_file() && run.join("abandoned-checkpoint-8").is_dir());
}

/// The disk is full after the log was copied, or before: the same start can be repeated.
#[test]
fn fork_that_failed_can_be_started_again() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    train(&ctx, run_settings(&run, 6), first(3));
    let length = fs::metadata(run.join("log.jsonl")).unwrap().len();
    let fork = || Trainer::new(&ctx, run_settings(&new, 6)).unwrap().fork(&run, None).unwrap();
    for space in [0, length + 100, 2 * length] {
        inject(Some(DiskFault::Full(space)));
        let outcome = fork().run(&AtomicBool::new(false));
        inject(None);
        outcome.unwrap_err();
        assert!(!new.join("checkpoint-3").exists(), "{space} bytes are enough");
    }
    assert_eq!(fork().run(&AtomicBool::new(false)).unwrap(), Outcome::Finished);
}

/// A fork that was killed before its first own checkpoint goes on from where it started.
#[test]
fn fork_can_be_resumed_before_its_first_step() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    train(&ctx, run_settings(&run, 6), first(3));
    let mut trainer = Trainer::new(&ctx, run_settings(&new, 6)).unwrap().fork(&run, None).unwrap();
    assert_eq!(trainer.run(&AtomicBool::new(true)).unwrap(), Outcome::Stopped(3));
    same_files(&checkpoint(&new, 3), &checkpoint(&run, 3));
    train(&ctx, run_settings(&new, 6), REST);
    train(&ctx, run_settings(&run, 6), REST);
    same_files(&checkpoint(&new, 6), &checkpoint(&run, 6));
}

/// Ctrl-C causes the same interrupt.
#[test]
fn interrupt_saves_the_run_and_resume_continues_it() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let (run, interrupted) = (folder.path(), AtomicBool::new(false));
    let (outcome, _) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let lines = || fs::read_to_string(run.join("log.jsonl")).map_or(0, |text| text.lines().count());
            while lines() < 3 {
                std::thread::sleep(Duration::from_millis(10));
            }
            interrupted.store(true, Ordering::Relaxed);
        });
        let part = Part { interrupt: Some(&interrupted), ..WHOLE };
        try_train(&ctx, run_settings(run, 1_000_000), part)
    });
    let Ok(Outcome::Stopped(step)) = outcome else { panic!("{outcome:?}") };
    assert!((3..1000).contains(&step), "stopped after step {step}");
    assert_eq!(series(&log(run), "loss").last().map(|last| last.0), Some(u64::from(step)));
    let before = checkpoint(run, step);
    // A run that stops at its last checkpoint leaves it unchanged.
    train(&ctx, run_settings(run, 1_000_000), Part { stop_after: Some(step), ..REST });
    same_files(&before, &checkpoint(run, step));
    train(&ctx, run_settings(run, step + 2), REST);
    assert_eq!(checkpoints(run).unwrap().last().unwrap().0, step + 2);
}

#[test]
fn training_stops_if_the_gradient_is_not_finite() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let run = folder.path();
    let wild = |out: &Path| Settings { lr: Some(1e30), warmup: Some(0), ..run_settings(out, 40) };
    let refused = |settings, part| match try_train(&ctx, settings, part) {
        (Err(Error::NonFinite(message)), trainer) => (message, trainer),
        (other, _) => panic!("{other:?}"),
    };
    // After the first step the parameters are huge. The second step detects it.
    let (message, _) = refused(wild(&run.join("fresh")), WHOLE);
    for part in ["step 2:", "gradient of `", "no checkpoint yet", "--lr"] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert_eq!(checkpoints(&run.join("fresh")).unwrap(), []);

    let run = run.join("later");
    train(&ctx, run_settings(&run, 40), first(3));
    let before = checkpoint(&run, 3);
    let (message, _) = refused(wild(&run), REST);
    for part in ["step 5:", "gradient of `", "checkpoint of step 3 is intact", "--resume"] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    same_files(&before, &checkpoint(&run, 3));
    assert_eq!(series(&log(&run), "loss").len(), 4);

    // With a parameter that is NaN, no step changes the parameters or the moments.
    let path = run.join("checkpoint-3/training_state.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let trainer = Trainer::new(&ctx, run_settings(&run, 40)).unwrap();
    let parameters = trainer.objective().model().parameters();
    let mut poison = vec![0.0; parameters.flat_shape().len()];
    poison[parameters.find("conv_out.bias").unwrap().range().start] = 1.0;
    let poisoned = parameters.to_file_order(&poison).iter().position(|&x| x == 1.0).unwrap();
    let state = SafeTensors::deserialize(&bytes).unwrap();
    let start = state.tensor(PARAMETERS).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[start + 4 * poisoned..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let (message, trainer) = refused(run_settings(&run, 40), REST);
    assert!(message.contains("step 4:") && message.contains("gradient of `"), "{message}");
    let state = SafeTensors::deserialize(&bytes).unwrap();
    for name in [PARAMETERS, "adam.first", "adam.second"] {
        let parameters = trainer.objective().model().parameters();
        let now: Vec<f32> = trainer.context().read(name, 0, parameters.flat_shape().len()).unwrap();
        let now: Vec<u8> = parameters.to_file_order(&now).iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(now == state.tensor(name).unwrap().data(), "{name} was touched by a step that was not finite");
    }
}

#[test]
fn resume_refuses_a_checkpoint_of_another_model() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let run = folder.path();
    train(&ctx, run_settings(run, 40), first(1));
    let refused = |settings: Settings, parts: &[&str]| {
        let problem = Trainer::new(&ctx, settings).unwrap().resume().err().expect("the resumption is refused");
        let message = problem.to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    };
    let other = || Settings { layers_per_block: Some(2), ..run_settings(run, 40) };
    refused(other(), &["--layers-per-block", "was started with 1"]);
    // Even if the run's settings say so.
    let config = run.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("layers_per_block = 1", "layers_per_block = 2")).unwrap();
    refused(other(), &["--layers-per-block", "was started with 1"]);
    // Without the manifest, only the checkpoint knows.
    fs::remove_file(run.join("manifest.json")).unwrap();
    refused(other(), &["checkpoint-1/training_state.safetensors", "`parameters`", "this model needs"]);
    fs::write(&config, text).unwrap();
    let path = run.join("checkpoint-1/training_state.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(run_settings(run, 40), &["training_state.safetensors: damaged"]);
}
