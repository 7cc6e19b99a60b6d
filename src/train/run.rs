//! The training loop.

use super::clock::{Activity, Clock};
use super::device_log::{DeviceLog, LogRow, Rows};
use super::due::{Due, is_due};
use super::log_entry::{LogEntry, by_quarter};
use super::manifest::Manifest;
use super::run_log::RunLog;
use super::trainer::{Trainer, all_checkpoints};
use super::validation::Evaluator;
use super::{step_uniforms, training_state};
use crate::files::{FolderLock, shell_quoted};
use crate::gpu::Gpu;
use crate::nn::GRADIENTS;
use crate::ops::measure_peak_flops;
use crate::output::{counted, note};
use crate::tape::{Program, record};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Files that a run writes, except checkpoints and TensorBoard's, which have unique names.
const FILES: &[&str] = &[
    "config.toml",
    "manifest.json",
    "log.jsonl",
    "samples",
    "loss.png",
    "loss.svg",
    "bits_per_dim.png",
    "bits_per_dim.svg",
    "frechet_distance.png",
    "frechet_distance.svg",
    "forward.png",
    "reverse.png",
];
/// Steps that may wait in the device's queue: enough to hide the host's work, few enough to stop
/// quickly.
const IN_FLIGHT: usize = 2;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are finished.
    Finished,
    /// The run stopped on request after this number of finished steps, and saved a checkpoint.
    Stopped(u32),
}

/// What the measurements need.
struct Measurements {
    validation: Option<Program>,
    evaluator: Option<Evaluator>,
}

/// Records measurements after `step` steps.
pub(super) struct Recorder<'r, 'l> {
    pub log: &'r mut RunLog<'l>,
    pub clock: &'r mut Clock,
    pub step: u32,
    pub gpu: &'r Gpu,
    /// Ends a measurement when it is set.
    pub stop: &'r AtomicBool,
}

impl<'l> Recorder<'_, 'l> {
    /// Adds the result of a measurement to the log. If the measurement failed or cannot be written,
    /// the user gets a warning with the cause. An interrupted measurement is left out.
    ///
    /// # Errors
    /// The device has failed, so that training cannot go on.
    fn record<T>(
        &mut self,
        what: &str,
        result: Result<T>,
        add: impl FnOnce(&mut RunLog<'l>, T) -> Result<()>,
    ) -> Result<()> {
        match result.and_then(|value| add(self.log, value)) {
            Ok(()) | Err(Error::Interrupted) => {}
            Err(problem) => {
                self.gpu.check()?;
                self.log.warn(&format!("the {what} after step {} failed: {problem}", self.step));
            }
        }
        Ok(())
    }
}

impl Trainer {
    /// Trains until the last step or until `stop` is set. Then it finishes the current step, saves
    /// a checkpoint and returns.
    ///
    /// # Errors
    /// [`Error::Config`] for a run folder that already holds a run, unless it is resumed;
    /// [`Error::TooLarge`] for streamed images whose buffers the device cannot bind;
    /// [`Error::Io`] for files that cannot be written; [`Error::NonFinite`] for a loss or gradient
    /// that is not finite, with its step and the first affected tensor.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<Outcome> {
        self.run_with(stop, &mut |_| ())
    }

    /// Like [`Trainer::run`]. `on_entry` receives every log entry when it is written.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_with(&mut self, stop: &AtomicBool, on_entry: &mut dyn FnMut(&LogEntry)) -> Result<Outcome> {
        let outcome = if self.ranks.communicator.is_first() { self.train(stop, on_entry) } else { self.follow(stop) };
        outcome.map_err(|problem| self.with_checkpoint(problem))
    }

    fn train(&mut self, stop: &AtomicBool, on_entry: &mut dyn FnMut(&LogEntry)) -> Result<Outcome> {
        let folder = self.config.out.clone();
        self.compare_ranks()?;
        self.check_stream()?;
        // Before the lock, which would change the folder, and once more when nobody else can write.
        self.refuse_to_overwrite()?;
        let _lock = FolderLock::acquire(&folder)?;
        self.refuse_to_overwrite()?;
        self.refuse_if_continued()?;

        // Compile the programs.
        self.ctx.pinned = self.earlier_forms()?;
        let (mut training, flops) = self.compile_step()?;
        let programs = Measurements { validation: self.validation_program()?, evaluator: self.evaluator()? };
        self.share_forms(Some((&training, programs.validation.as_ref())))?;
        let start = self.restore_or_initialize()?;

        // Clean the run's folder and open its log.
        self.run = self.earlier_name()?;
        // First the log: once the later checkpoints have other names, nothing tells that it is longer.
        if let Some(newest) = self.newest.filter(|&newest| newest > start.step)
            && let Some(path) = training_state::keep_log(&folder, newest)?
        {
            note(format_args!("the log of the later steps was kept as {}", path.display()));
        }
        for path in training_state::clean(&folder, &self.run, start.step)? {
            let (steps, path) = (start.step, path.display());
            note(format_args!("this run continues from step {steps}: a later checkpoint was kept as {path}"));
        }
        // The manifest shows that the other files belong to a run.
        self.write_manifest(training.program.forms())?;
        self.copy_log()?;
        let mut log = RunLog::open(&folder, &self.config, start, flops, on_entry, self.quiet)?;

        // Train.
        let config = self.config.clone();
        let last = self.stop_after.map_or(config.steps, |stop| stop.min(config.steps));
        let mut source = self.loader.start(&config, &self.dataset, self.training_images(), start.step);
        let mut device_log = DeviceLog::new(config.batch, start.step);
        let mut queue = VecDeque::new();
        let mut saved = self.checkpoint.as_ref().map(|_| start.step);
        let mut clock = Clock::new(start.seconds, Instant::now());
        let mut step = start.step;
        if self.origin.is_some() {
            // From here on, the run does not need its origin.
            self.save(start)?;
            saved = Some(step);
        }
        // A run that was killed or stopped after a checkpoint lacks the measurements of that step.
        let missing = log.missing(step, self.due(step, &programs));
        let gpu = self.ctx.gpu.clone();
        let mut recorder = Recorder { log: &mut log, clock: &mut clock, step, gpu: &gpu, stop };
        self.fit_latents(&mut recorder)?;
        self.ranks.share_flag(missing.validation);
        self.measure(missing, &programs, &mut recorder)?;
        // The ranks agree on the last step.
        let mut stopping = false;
        while step < last && !stopping && (self.ranks.are_several() || !stop.load(Ordering::Relaxed)) {
            if log.needs_peak() {
                self.drain(&mut device_log, &mut log, &clock, step)?;
                clock.switch(Activity::Other, Instant::now());
                log.set_peak(measure_peak_flops(&self.ctx)?);
                clock.switch(Activity::Training, Instant::now());
            }

            // Submit a step.
            if let Some(source) = &mut source {
                source.provide(&self.ctx, step)?;
            }
            let uniforms = self.step_uniforms(step);
            if self.ranks.are_several() {
                stopping = self.run_divided(&mut training, &uniforms, stop.load(Ordering::Relaxed))?;
            } else {
                queue.push_back(training.program.run(&self.ctx, &uniforms)?);
            }
            if queue.len() > IN_FLIGHT
                && let Some(submission) = queue.pop_front()
            {
                self.ctx.wait_for(&submission)?;
            }
            step += 1;

            // Read the losses that are ready, or all of them before a pause.
            let due = self.due(step, &programs);
            let saves = is_due(config.checkpoint_every, step, config.steps);
            self.compare_parameters_if_due(step, saves)?;
            if due.any() || saves {
                self.drain(&mut device_log, &mut log, &clock, step)?;
            } else if let Some(rows) = device_log.poll(&self.ctx, step, IN_FLIGHT as u32)? {
                self.log_rows(&mut log, &clock, &rows)?;
            }

            // Save first: nothing that fails afterwards loses the steps.
            if saves {
                log.sync()?;
                self.save(clock.progress(step, Instant::now()))?;
                saved = Some(step);
            }

            // Training goes on without a measurement that fails, unless the device has failed.
            let mut recorder = Recorder { log: &mut log, clock: &mut clock, step, gpu: &gpu, stop };
            self.fit_latents(&mut recorder)?;
            self.measure(due, &programs, &mut recorder)?;
        }

        // Save the steps since the last checkpoint.
        self.compare_parameters(step)?;
        self.drain(&mut device_log, &mut log, &clock, step)?;
        if saved != Some(step) {
            log.sync()?;
            self.save(clock.progress(step, Instant::now()))?;
        }
        if let Some(source) = source.filter(|_| step > start.step) {
            let (waits, steps) = (source.waits(), step - start.step);
            let share = 100.0 * waits as f64 / f64::from(steps);
            log.print(&format!("{share:.1} % of the steps waited for streamed images ({waits} of {steps})"));
        }
        if let Err(problem) = log.finish() {
            note(format_args!("warning: the curves could not be written: {problem}"));
        }
        if step < config.steps {
            return Ok(Outcome::Stopped(step));
        }
        match self.save_strips(stop) {
            Ok(()) | Err(Error::Interrupted) => {}
            Err(problem) => {
                gpu.check()?;
                note(format_args!("warning: the pictures of the process could not be made: {problem}"));
            }
        }
        // An interrupt after the last step leaves out measurements, which a resumption makes.
        if stop.load(Ordering::Relaxed) && !self.is_complete(&folder, step)? {
            return Ok(Outcome::Stopped(step));
        }
        Ok(Outcome::Finished)
    }

    /// What is measured after `step` steps.
    fn due(&self, step: u32, programs: &Measurements) -> Due {
        let config = &self.config;
        let due = |every| is_due(every, step, config.steps);
        Due {
            validation: due(config.validate_every) && programs.validation.is_some(),
            evaluation: due(config.evaluate_every) && programs.evaluator.is_some(),
            samples: due(config.sample_every) && self.objective.generative().is_some(),
        }
    }

    /// Validates, evaluates and samples, as far as they are due.
    fn measure(&mut self, due: Due, programs: &Measurements, recorder: &mut Recorder<'_, '_>) -> Result<()> {
        let Recorder { step, stop, .. } = *recorder;
        if due.validation || due.evaluation {
            recorder.clock.switch(Activity::Evaluating, Instant::now());
            let progress = recorder.clock.progress(step, Instant::now());
            if let Some(validation) = programs.validation.as_ref().filter(|_| due.validation) {
                let mut entry = self.validate(validation, progress);
                if self.ranks.are_several() {
                    // The others would wait for this rank's part.
                    entry = Ok(entry?);
                }
                recorder.record("validation", entry, |log, entry| log.add(&entry))?;
            }
            if let Some(evaluator) = programs.evaluator.as_ref().filter(|_| due.evaluation) {
                let entry = self.evaluate(evaluator, progress, stop);
                recorder.record("evaluation", entry, |log, entry| log.add(&entry))?;
            }
        }
        if due.samples {
            recorder.clock.switch(Activity::Sampling, Instant::now());
            recorder.log.busy(&format!("step {step}: sampling the grids"));
            let grids = self.sample_grids(step, stop);
            recorder.record("grid of samples", grids, |log, grids| {
                grids.iter().try_for_each(|grid| log.add_grid(step, grid))
            })?;
        }
        recorder.clock.switch(Activity::Training, Instant::now());
        Ok(())
    }

    /// The program that measures the losses of validation images, if there are any.
    pub(super) fn validation_program(&mut self) -> Result<Option<Program>> {
        if self.config.validation_count == 0 {
            return Ok(None);
        }
        let (tape, ()) = record(&self.ctx, |t| self.record_validation(t))?;
        Program::compile(&mut self.ctx, &tape).map(Some)
    }

    /// Logs all rows up to step `finished`. Waits for the device.
    fn drain(&self, device_log: &mut DeviceLog, log: &mut RunLog<'_>, clock: &Clock, finished: u32) -> Result<()> {
        device_log.drain(&self.ctx, finished)?.iter().try_for_each(|rows| self.log_rows(log, clock, rows))
    }

    /// Logs rows of the device log.
    fn log_rows(&self, log: &mut RunLog<'_>, clock: &Clock, rows: &Rows) -> Result<()> {
        let progress = clock.progress(rows.finished(), Instant::now());
        log.read(progress);
        for (step, row) in rows.iter() {
            if !row.written {
                return Err(Error::Device(format!(
                    "step {step} did not run, and the driver reported no error. Use a smaller --batch or --size if it \
                     happens again"
                )));
            }
            if !row.finite {
                return Err(self.not_finite(step, row)?);
            }
            log.add(&LogEntry::Step {
                step,
                seconds: progress.seconds,
                loss: f64::from(row.loss),
                gradient_norm: f64::from(row.gradient_norm),
                learning_rate: step_uniforms::learning_rate(&self.config, step - 1),
                images_per_second: log.images_per_second(),
                loss_by_quarter: by_quarter(row.losses, row.times, self.objective.num_times()),
            })?;
        }
        Ok(())
    }

    /// The error for a step whose loss or gradient is not finite. It names the step and the first
    /// parameter whose gradient is not finite.
    fn not_finite(&self, step: u32, row: LogRow<'_>) -> Result<Error> {
        let parameters = self.objective.model().parameters();
        let gradients: Vec<f32> = self.ctx.read(GRADIENTS, 0, parameters.flat_shape().len())?;
        let broken = |range: std::ops::Range<usize>| gradients[range].iter().any(|g| !g.is_finite());
        let place = match parameters.iter().find(|p| !p.statistic && broken(p.range())) {
            Some(parameter) => format!(", seen first in the gradient of `{}`", parameter.name),
            None => String::new(),
        };
        let rest = self.after_failure("Lower --lr or --max-grad-norm, or raise --warmup")?;
        let LogRow { loss, gradient_norm, .. } = row;
        Ok(Error::NonFinite(format!(
            "step {step}: loss {loss} and gradient norm {gradient_norm} are not both finite{place}. {rest}"
        )))
    }

    /// Adds the last checkpoint and the command that continues from it to an error of the device.
    fn with_checkpoint(&self, problem: Error) -> Error {
        let Error::Device(message) = problem else { return problem };
        let folder = &self.config.out;
        let saved = all_checkpoints(folder).ok().and_then(|all| all.last().map(|(step, _)| *step));
        Error::Device(match saved {
            Some(step) => {
                format!(
                    "{message}. The checkpoint of step {step} is intact: --resume {} continues",
                    shell_quoted(folder)
                )
            }
            None => message,
        })
    }

    /// The last checkpoint and the command that continues from it, after some advice.
    fn after_failure(&self, advice: &str) -> Result<String> {
        let folder = shell_quoted(&self.config.out);
        Ok(match all_checkpoints(&self.config.out)?.last() {
            Some((saved, _)) => {
                format!("The checkpoint of step {saved} is intact. {advice}, and continue with --resume {folder}")
            }
            None => format!("There is no checkpoint yet. {advice}, and start again"),
        })
    }

    /// Refuses to start a new run in a folder that already holds one, or files that a run would
    /// replace.
    fn refuse_to_overwrite(&self) -> Result<()> {
        let folder = &self.config.out;
        if self.checkpoint.is_some() && self.origin.is_none() {
            return Ok(());
        }
        if let Some((step, _)) = all_checkpoints(folder)?.last() {
            return Err(Error::Config(format!(
                "{} already holds a run of {}. Continue it with --resume {}, choose another --out, or remove it",
                folder.display(),
                counted(*step, "step"),
                shell_quoted(folder)
            )));
        }
        if !folder.is_dir() {
            return Ok(());
        }
        // A run that was stopped before its first checkpoint starts again in its folder.
        let manifest = Manifest::read(folder).ok().flatten();
        let begun = manifest.is_some();
        if let Some(origin) = manifest.and_then(|manifest| manifest.origin).filter(|_| self.origin.is_none()) {
            return Err(Error::file(
                folder,
                format!(
                    "holds a run that starts from {}, and this start has other weights: start it again with {}, or choose \
                     another --out",
                    origin.path.display(),
                    origin.options(folder)
                ),
            ));
        }
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if name.starts_with("checkpoint-") {
                return Err(Error::file(
                    path,
                    "is not a complete checkpoint, and a new run would start here: choose another --out",
                ));
            }
            if FILES.contains(&name.as_str()) && !begun {
                return Err(Error::file(
                    path,
                    "does not belong to a run, and a run would replace it: choose another --out",
                ));
            }
        }
        Ok(())
    }

    /// Refuses to continue from a checkpoint if another process has trained the run since it was
    /// chosen.
    fn refuse_if_continued(&self) -> Result<()> {
        match (&self.checkpoint, all_checkpoints(&self.config.out)?.last()) {
            (Some(_), Some((newest, _))) if Some(*newest) != self.newest => Err(Error::Config(format!(
                "{} was continued by another process to step {newest} in the meantime: resume it again",
                self.config.out.display()
            ))),
            _ => Ok(()),
        }
    }
}
