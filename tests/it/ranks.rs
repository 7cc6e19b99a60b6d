//! Training that several ranks divide. Here they are threads of one process, each with its own
//! device; tests/mpi.rs connects processes by MPI.

use super::runs::{checkpoint, same_files};
use crate::common::context;
use crate::common::run::{copy, files};
use crate::common::small::small;
use degrain::gpu::Context;
use degrain::nn::{GRADIENTS, PARAMETERS, Parameter};
use degrain::ranks::{Communicator, Single};
use degrain::tape::inspect::tolerance;
use degrain::train::{Outcome, Settings, Storage, Trainer};
use std::fmt::Debug;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// Images of a batch: 2 and 3 ranks can divide it.
const BATCH: u32 = 12;
/// Terms of the longest sum in a gradient of the small model: the pixels of a batch.
const TERMS: usize = BATCH as usize * 28 * 28;
/// Time after which a rank that waits for others fails.
const PATIENCE: Duration = Duration::from_secs(300);

/// What ranks pass to each other in one call.
#[derive(Default)]
struct Exchange {
    /// Bytes of each rank, while they arrive.
    arriving: Vec<Vec<u8>>,
    /// Bytes of the last complete call, and the number of complete calls.
    complete: Arc<Vec<Vec<u8>>>,
    calls: usize,
}

/// What the last rank does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// It trains on the images and the noise of the rank before it.
    OtherPart,
    /// It does not add the others' parts to the block that it adds up.
    BlockNotAdded,
    /// It keeps its own block when it gets the sums.
    SumNotTaken,
}

/// Ranks that are threads.
#[derive(Clone)]
struct Threads {
    rank: usize,
    size: usize,
    fault: Fault,
    exchange: Arc<(Mutex<Exchange>, Condvar)>,
}

impl Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "thread {} of {}", self.rank, self.size)
    }
}

impl Threads {
    fn does(&self, fault: Fault) -> bool {
        self.fault == fault && self.rank == self.size - 1
    }

    /// The bytes of all ranks. Waits for them.
    fn exchange(&self, own: Vec<u8>) -> Arc<Vec<Vec<u8>>> {
        let (state, changed) = &*self.exchange;
        let mut state = state.lock().unwrap();
        let call = state.calls;
        state.arriving.resize(self.size, vec![]);
        // Marked by its length, so that an empty message has arrived too.
        state.arriving[self.rank] = [&[1][..], &own].concat();
        if state.arriving.iter().all(|bytes| !bytes.is_empty()) {
            let all = std::mem::take(&mut state.arriving);
            state.complete = Arc::new(all.into_iter().map(|bytes| bytes[1..].to_vec()).collect());
            state.calls += 1;
            changed.notify_all();
        }
        let (state, late) = changed.wait_timeout_while(state, PATIENCE, |state| state.calls == call).unwrap();
        assert!(!late.timed_out(), "{self:?} waits for others that made other calls");
        state.complete.clone()
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        if self.does(Fault::OtherPart) { self.rank - 1 } else { self.rank }
    }

    fn size(&self) -> usize {
        self.size
    }

    fn local_rank(&self) -> usize {
        self.rank
    }

    fn machine(&self) -> usize {
        0
    }

    fn all_gather_into(&self, own: &[f32], all: &mut [f32]) {
        bytemuck::cast_slice_mut(all).copy_from_slice(&self.all_gather_bytes(bytemuck::cast_slice(own)));
        // Losses of a batch are fewer.
        if self.does(Fault::SumNotTaken) && own.len() > 10 * BATCH as usize {
            all[..own.len()].fill(0.0);
        }
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Vec<u8> {
        let all = self.exchange(own.to_vec());
        assert!(all.iter().all(|bytes| bytes.len() == own.len()), "the ranks made different calls");
        all.concat()
    }

    fn all_to_all_into(&self, blocks: &[f32], received: &mut [f32]) {
        let all = self.exchange(bytemuck::cast_slice(blocks).to_vec());
        let block = 4 * blocks.len() / self.size;
        let own: Vec<u8> = all.iter().flat_map(|bytes| &bytes[self.rank * block..][..block]).copied().collect();
        bytemuck::cast_slice_mut(received).copy_from_slice(&own);
        if self.does(Fault::BlockNotAdded) {
            let others = received.len() / self.size * self.rank;
            received[..others].fill(0.0);
        }
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        bytes.clone_from(&self.exchange(bytes.clone())[0]);
    }
}

/// Runs a function on each of several ranks, and returns the results in their order.
fn on_ranks<R: Send>(size: usize, fault: Fault, run: impl Fn(Threads) -> R + Sync) -> Vec<R> {
    let exchange: Arc<(Mutex<Exchange>, Condvar)> = Arc::default();
    let run = &run;
    std::thread::scope(|scope| {
        let start = |rank| {
            let exchange = exchange.clone();
            scope.spawn(move || run(Threads { rank, size, fault, exchange }))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("the rank did not panic")).collect()
    })
}

/// A run of 8 steps, with a checkpoint after each.
fn settings(preset: &str, out: &Path) -> Settings {
    Settings {
        out: Some(out.into()),
        batch: Some(BATCH),
        steps: Some(8),
        checkpoint_every: Some(1),
        keep_checkpoints: Some(100),
        validate_every: Some(4),
        ..small(preset)
    }
}

/// Trains up to a step, from the last checkpoint if there is one.
fn train_to(ctx: &Context, settings: Settings, step: u32, ranks: impl Communicator + 'static) -> Trainer {
    let resumes = settings.out.as_ref().is_some_and(|out| out.exists());
    let trainer = Trainer::new(ctx, settings).unwrap().stop_after(Some(step)).on_ranks(Rc::new(ranks)).unwrap();
    let mut trainer = if resumes { trainer.resume().unwrap() } else { trainer };
    let outcome = trainer.run(&AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
    let last = trainer.config().steps;
    assert_eq!(outcome, if step == last { Outcome::Finished } else { Outcome::Stopped(step) });
    trainer
}

/// [`train_to`] on several ranks. Returns what `read` names at the end, which must be the same on
/// each.
fn train_on(size: usize, fault: Fault, settings: &Settings, step: u32, read: &'static str) -> Vec<f32> {
    let train = |ranks| read_flat(&train_to(&context(), settings.clone(), step, ranks), read);
    let mut all = on_ranks(size, fault, train);
    let first = all.swap_remove(0);
    assert!(all.iter().all(|other| bits(other) == bits(&first)), "all ranks have the same {read}");
    first
}

/// A buffer with a value for each parameter.
fn read_flat(trainer: &Trainer, name: &str) -> Vec<f32> {
    let length = trainer.objective().model().parameters().flat_shape().len();
    trainer.context().read(name, 0, length).unwrap()
}

/// A folder with a copy of a run, called `run`.
fn copy_of(run: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    copy(run, &folder.path().join("run"));
    folder
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// The gradient of step 6 of one process, and the run before it.
struct Gradients {
    one: Vec<f32>,
    trainer: Trainer,
    before: TempDir,
}

impl Gradients {
    fn of_one(preset: &str) -> Gradients {
        let (before, ctx) = (TempDir::new().unwrap(), context());
        let run = before.path().join("run");
        train_to(&ctx, settings(preset, &run), 5, Single);
        let folder = copy_of(&run);
        let trainer = train_to(&ctx, settings(preset, &folder.path().join("run")), 6, Single);
        Gradients { one: read_flat(&trainer, GRADIENTS), trainer, before }
    }

    /// The gradient of the step by several ranks.
    fn of_ranks(&self, preset: &str, size: usize, fault: Fault) -> Vec<f32> {
        let folder = copy_of(&self.before.path().join("run"));
        train_on(size, fault, &settings(preset, &folder.path().join("run")), 6, GRADIENTS)
    }

    /// The parameters whose gradient differs by more than two sums of the same terms can.
    fn differences(&self, other: &[f32]) -> Vec<String> {
        let mut wrong = vec![];
        let parameters = self.trainer.objective().model().parameters();
        let largest = |p: &Parameter| self.one[p.range()].iter().fold(0.0, |m, x| f64::max(m, f64::from(x.abs())));
        for p in parameters.iter().filter(|p| !p.statistic) {
            let (one, other) = (&self.one[p.range()], &other[p.range()]);
            // The gradient of a key's bias is zero in exact arithmetic: a sum of numbers of the
            // size of its weight's gradient, which cancel except for rounding errors.
            let weight = p.name.replace("to_k.bias", "to_k.weight");
            let scale = parameters.iter().filter(|q| q.name == weight).map(largest).fold(0.0, f64::max);
            let apart = one.iter().zip(other).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            let allowed = 2.0 * tolerance(TERMS, 0.0, scale);
            if apart.is_nan() || apart > allowed {
                wrong.push(format!("{}: apart by {apart:.1e}, allowed {allowed:.1e}", p.name));
            }
        }
        wrong
    }
}

#[test]
fn ranks_together_have_the_gradient_of_one_process() {
    for preset in ["ddpm", "hybrid", "vae"] {
        let gradients = Gradients::of_one(preset);
        for size in [2, 3] {
            let wrong = gradients.differences(&gradients.of_ranks(preset, size, Fault::Nothing));
            assert!(wrong.is_empty(), "{preset} on {size} ranks:\n{}", wrong.join("\n"));
        }
    }
}

#[test]
fn wrong_gradients_of_ranks_are_detected() {
    let gradients = Gradients::of_one("ddpm");
    for fault in [Fault::OtherPart, Fault::BlockNotAdded] {
        let wrong = gradients.differences(&gradients.of_ranks("ddpm", 3, fault));
        assert!(!wrong.is_empty(), "{fault:?} changes the gradient");
    }
}

#[test]
fn ranks_whose_parameters_differ_end_the_run() {
    let folder = TempDir::new().unwrap();
    let settings = settings("ddpm", &folder.path().join("run"));
    let problems = on_ranks(2, Fault::SumNotTaken, |ranks| {
        let mut trainer = Trainer::new(&context(), settings.clone()).unwrap().on_ranks(Rc::new(ranks)).unwrap();
        trainer.run(&AtomicBool::new(false)).unwrap_err().to_string()
    });
    let expected = "rank 1 has other parameters after step ";
    assert!(problems.iter().all(|problem| problem.contains(expected)), "{problems:?}");
}

/// Also of batch normalization, whose statistics are those of each rank's part, and of importance
/// sampling, which has a history.
#[test]
fn runs_of_two_ranks_are_equal_and_resume_bit_for_bit() {
    for preset in ["ddpm", "residual-attention", "hybrid"] {
        let folders = [(); 3].map(|()| TempDir::new().unwrap());
        let runs = folders.each_ref().map(|folder| folder.path().join("run"));
        for run in &runs[..2] {
            train_on(2, Fault::Nothing, &settings(preset, run), 8, PARAMETERS);
        }
        for step in [3, 8] {
            train_on(2, Fault::Nothing, &settings(preset, &runs[2]), step, PARAMETERS);
        }
        let [first, again, resumed] = runs.each_ref().map(|run| checkpoint(run, 8));
        same_files(&first, &again);
        same_files(&first, &resumed);
    }
}

/// Each rank streams its part of a batch.
#[test]
fn ranks_with_streamed_images_train_as_with_images_on_the_device() {
    let folder = TempDir::new().unwrap();
    let [device, streamed] = [("device", Storage::Device), ("streamed", Storage::Stream)].map(|(name, storage)| {
        let run = folder.path().join(name);
        // Over several chunks and epochs.
        let settings = Settings { steps: Some(45), checkpoint_every: Some(15), ..settings("ddpm", &run) };
        for step in [30, 45] {
            train_on(2, Fault::Nothing, &Settings { storage: Some(storage), ..settings.clone() }, step, PARAMETERS);
        }
        checkpoint(&run, 45)
    });
    same_files(&device, &streamed);
}

/// The EMA is not a part of the parameters.
#[test]
fn ranks_with_other_training_states_are_refused() {
    let folder = TempDir::new().unwrap();
    let runs = ["first", "second"].map(|name| folder.path().join(name));
    for (run, ema_decay) in runs.iter().zip([0.1, 0.9]) {
        train_to(&context(), Settings { ema_decay: Some(ema_decay), ..settings("ddpm", run) }, 3, Single);
    }
    let problems = on_ranks(2, Fault::Nothing, |ranks| {
        let settings = settings("ddpm", &runs[ranks.rank]);
        let trainer = Trainer::new(&context(), settings).unwrap().on_ranks(Rc::new(ranks)).unwrap();
        trainer.resume().unwrap().run(&AtomicBool::new(false)).unwrap_err().to_string()
    });
    let expected = "rank 1 has another training state than rank 0. Their checkpoints differ";
    assert!(problems.iter().all(|problem| problem.contains(expected)), "{problems:?}");
}

/// A run whose number of ranks changes has the parameters, losses and validation losses of one
/// process, up to rounding.
#[test]
fn run_continues_on_another_number_of_ranks() {
    let folders = [(); 2].map(|()| TempDir::new().unwrap());
    let [one, several] = folders.each_ref().map(|folder| folder.path().join("run"));
    let ctx = context();
    let start = read_flat(&train_to(&ctx, settings("ddpm", &one), 1, Single), PARAMETERS);
    let (mut moved, mut farthest) = (0.0, 0.0);
    for (step, size) in [(3, 2), (5, 3), (8, 1)] {
        let parameters = read_flat(&train_to(&ctx, settings("ddpm", &one), step, Single), PARAMETERS);
        let together = train_on(size, Fault::Nothing, &settings("ddpm", &several), step, PARAMETERS);
        let length = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let apart = length(&parameters, &together);
        // The gradient's rounding errors, and Adam's division by gradients that are near zero.
        let movement = length(&parameters, &start);
        assert!(
            movement > moved && apart < 0.01 * movement,
            "after step {step}: apart by {apart}, moved by {movement}"
        );
        moved = movement;
        farthest = f64::max(farthest, apart);
    }
    let [one, several] = [&one, &several].map(|run| losses(run));
    assert_eq!(one.len(), 8 + 2, "8 steps and 2 validations");
    assert_eq!(one.len(), several.len());
    let norm = one.iter().map(|entry| entry.gradient_norm).fold(0.0, f64::max);
    for (one, several) in one.iter().zip(&several) {
        assert_eq!(one.step, several.step);
        for (a, b) in one.values.iter().zip(&several.values) {
            // Of two sums over the pixels of a batch, and of parameters that are apart, to first
            // order.
            let allowed = 2.0 * tolerance(TERMS, 0.0, a.abs()) + 4.0 * norm * farthest;
            assert!((a - b).abs() <= allowed, "step {}: {a} and {b}, allowed {allowed:.1e}", one.step);
        }
    }
}

/// The losses of a step or a validation.
struct Losses {
    step: u64,
    /// The mean, and the means of the quarters of the timesteps that have images.
    values: Vec<f64>,
    /// 0 for a validation.
    gradient_norm: f64,
}

/// The losses in the log of a run.
fn losses(run: &Path) -> Vec<Losses> {
    let text = std::fs::read_to_string(run.join("log.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let entry = |line: serde_json::Value| {
        let (mean, quarters) = match line.get("loss") {
            Some(loss) => (loss, &line["loss_by_quarter"]),
            None => (line.get("validation_loss")?, &line["validation_by_quarter"]),
        };
        let quarters = quarters.as_array().expect("means by quarter").iter().filter_map(|mean| mean.as_f64());
        let values = mean.as_f64().into_iter().chain(quarters).collect();
        let gradient_norm = line.get("gradient_norm").and_then(|norm| norm.as_f64()).unwrap_or(0.0);
        Some(Losses { step: line["step"].as_u64()?, values, gradient_norm })
    };
    lines.filter_map(entry).collect()
}

#[test]
fn ranks_with_other_settings_or_data_are_refused() {
    let folder = TempDir::new().unwrap();
    let settings = settings("ddpm", &folder.path().join("run"));
    let refusal = |change: fn(Settings) -> Settings| {
        let problems = on_ranks(3, Fault::Nothing, |ranks| {
            let settings = if ranks.rank == 2 { change(settings.clone()) } else { settings.clone() };
            let mut trainer = Trainer::new(&context(), settings).unwrap().on_ranks(Rc::new(ranks)).unwrap();
            trainer.run(&AtomicBool::new(false)).unwrap_err().to_string()
        });
        assert!(problems.iter().all(|problem| *problem == problems[0]), "{problems:?}");
        problems[0].clone()
    };
    let message = refusal(|settings| Settings { lr: Some(1e-3), ..settings });
    assert!(message.contains("rank 2 has other settings than rank 0"), "{message}");
    let message = refusal(|settings| Settings { data: Some(crate::common::run::mnist()), ..settings });
    assert!(message.contains("rank 2 has another data set than rank 0"), "{message}");
    assert!(!folder.path().join("run").exists(), "nothing was written: {:?}", files(folder.path()));
}

#[test]
fn batch_that_ranks_cannot_divide_is_refused_with_those_that_fit() {
    let folder = TempDir::new().unwrap();
    let settings = Settings { batch: Some(16), ..settings("ddpm", &folder.path().join("run")) };
    let problems = on_ranks(3, Fault::Nothing, |ranks| {
        let trainer = Trainer::new(&context(), settings.clone()).unwrap();
        trainer.on_ranks(Rc::new(ranks)).map(|_| ()).unwrap_err().to_string()
    });
    let expected = "--batch 16: 3 ranks cannot divide it into equal parts. Use --batch 15 or 18";
    assert!(problems.iter().all(|problem| problem.contains(expected)), "{problems:?}");
}

#[test]
fn all_ranks_stop_when_one_is_interrupted() {
    let folder = TempDir::new().unwrap();
    let settings = settings("ddpm", &folder.path().join("run"));
    let outcomes = on_ranks(2, Fault::Nothing, |ranks| {
        let interrupted = AtomicBool::new(ranks.rank == 1);
        let mut trainer = Trainer::new(&context(), settings.clone()).unwrap().on_ranks(Rc::new(ranks)).unwrap();
        trainer.run(&interrupted).unwrap()
    });
    assert_eq!(outcomes, [Outcome::Stopped(1); 2]);
}
