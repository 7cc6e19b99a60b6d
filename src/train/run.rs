//! The loop: runs the training program step after step, and between steps validates, draws samples and saves.

use super::checkpoint::{self, Progress};
use super::evaluation::Evaluator;
use super::pictures;
use super::programs::{EMA, Job, LOG, LOG_ROWS, VALIDATION};
use super::run_log::RunLog;
use super::{manifest, step_uniforms};
use crate::data::Dataset;
use crate::diffusion::pipeline;
use crate::gpu::{Context, Readback, Submission};
use crate::nn::{GRADIENTS, PARAMETERS};
use crate::ops::log_step;
use crate::tape::{Program, Step};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Steps that may wait in the device's queue: enough to hide the host, few enough to stop soon.
const IN_FLIGHT: usize = 2;
/// How often the log is read back from the device, at most.
const LOOK: Duration = Duration::from_millis(300);
/// What validation's noise is keyed with, so that it is none of training's.
const VALIDATION_SEED: u32 = 0x7a11_da7e;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were made.
    Finished,
    /// It was asked to stop after this many steps, and saved.
    Stopped(u32),
}

/// Where a run begins and when it pauses.
pub struct Start<'a> {
    /// Folder of the run.
    pub folder: &'a Path,
    /// The checkpoint to go on from, or `None` for fresh parameters.
    pub resume: Option<&'a Path>,
    /// Pause after this many steps in all, as if asked to stop.
    pub stop_after: Option<u32>,
    /// The images, for a thread that gathers them where they do not lie on the device.
    pub dataset: &'a Arc<Dataset>,
    /// Set by Ctrl-C: finish the step, save, and return.
    pub interrupted: &'a AtomicBool,
}

/// Trains from `start` to the last step of the settings.
///
/// # Errors
/// The device's and the disk's; a loss or gradient that is not finite, with its step and the first tensor concerned.
pub fn run(ctx: &mut Context, job: &Job<'_>, start: &Start<'_>) -> Result<Outcome> {
    let (config, folder) = (job.config, start.folder);
    job.load(ctx)?;
    let training = Program::compile(ctx, &job.training(ctx.target()))?;
    let validation = match config.validation_count {
        0 => None,
        _ => Some(Program::compile(ctx, &job.validation(ctx.target()))?),
    };
    let evaluator = Evaluator::new(ctx, job)?;
    let mut progress = match start.resume {
        Some(checkpoint) => checkpoint::restore(ctx, job, checkpoint)?,
        None => {
            let parameters = job.objective.model().parameters();
            let fresh = parameters.initialize(config.seed, config.initialization);
            parameters.write(ctx, PARAMETERS, &fresh)?;
            parameters.write(ctx, EMA, &fresh)?;
            Progress::default()
        }
    };
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    checkpoint::clear_partial(folder)?;
    let mut saved = start.resume.map(|_| progress.step);
    manifest::write(ctx, job, folder)?;
    let mut run_log = RunLog::open(folder, config, progress.step)?;
    let mut log = LogReader { read: progress.step, looked: Instant::now(), pending: None };
    let mut queue: VecDeque<Submission> = VecDeque::new();
    let last = start.stop_after.map_or(config.steps, |stop| stop.min(config.steps));
    let (before, began) = (progress.seconds, Instant::now());
    let mut source = job.loader.start(config, start.dataset, job.training_images(), progress.step);

    while progress.step < last && !start.interrupted.load(Ordering::Relaxed) {
        let n = progress.step;
        if let Some(source) = &mut source {
            source.provide(ctx, n)?;
        }
        queue.push_back(training.run(ctx, &step_uniforms::step(config, job.training_images(), n))?);
        if queue.len() > IN_FLIGHT {
            queue.pop_front().map_or(Ok(()), |ticket| ctx.wait_for(&ticket))?;
        }
        progress.step = n + 1;
        let due = |every: u32| every > 0 && (progress.step.is_multiple_of(every) || progress.step == config.steps);
        let pause = due(config.validate_every)
            || due(config.sample_every)
            || due(config.checkpoint_every)
            || due(config.evaluate_every);
        match pause {
            true => log.finish(ctx, job, &mut run_log, progress.step)?,
            false => log.follow(ctx, job, &mut run_log, progress.step)?,
        }
        if let Some(validation) = validation.as_ref().filter(|_| due(config.validate_every)) {
            validate(ctx, job, validation, &mut run_log, n)?;
        }
        if let Some(evaluator) = evaluator.as_ref().filter(|_| due(config.evaluate_every)) {
            let seconds = before + began.elapsed().as_secs_f64();
            evaluator.evaluate(ctx, job, &mut run_log, n, seconds)?;
        }
        if due(config.sample_every) {
            pictures::samples(ctx, job, &mut run_log, n)?;
        }
        if due(config.checkpoint_every) {
            progress.seconds = before + began.elapsed().as_secs_f64();
            checkpoint::save(ctx, job, folder, &progress)?;
            saved = Some(progress.step);
        }
    }
    log.finish(ctx, job, &mut run_log, progress.step)?;
    if progress.step < config.steps {
        // A checkpoint that is there is not replaced by itself.
        if saved != Some(progress.step) {
            progress.seconds = before + began.elapsed().as_secs_f64();
            checkpoint::save(ctx, job, folder, &progress)?;
        }
        run_log.finish()?;
        return Ok(Outcome::Stopped(progress.step));
    }
    run_log.finish()?;
    pictures::strips(ctx, job, folder)?;
    Ok(Outcome::Finished)
}

/// Reads the rows of the device's log that the journal lacks, without holding up the steps.
struct LogReader {
    read: u32,
    looked: Instant,
    pending: Option<(Readback, u32)>,
}

impl LogReader {
    /// Takes up what was asked for some steps ago, and asks for more when it is time.
    fn follow(&mut self, ctx: &Context, job: &Job<'_>, run_log: &mut RunLog, step: u32) -> Result<()> {
        if self.pending.as_ref().is_some_and(|(_, asked)| step > asked + IN_FLIGHT as u32) {
            self.take(ctx, job, run_log)?;
        }
        if self.pending.is_none() && (step - self.read >= LOG_ROWS / 4 || self.looked.elapsed() > LOOK) {
            self.ask(ctx, job, step)?;
        }
        Ok(())
    }

    /// Reads everything up to `step`, and waits for it.
    fn finish(&mut self, ctx: &Context, job: &Job<'_>, run_log: &mut RunLog, step: u32) -> Result<()> {
        self.take(ctx, job, run_log)?;
        self.ask(ctx, job, step)?;
        self.take(ctx, job, run_log)
    }

    fn ask(&mut self, ctx: &Context, job: &Job<'_>, step: u32) -> Result<()> {
        let bytes = u64::from(LOG_ROWS * (log_step::row_width(job.config.batch))) * 4;
        self.pending = Some((ctx.start_read(LOG, 0, bytes)?, step));
        self.looked = Instant::now();
        Ok(())
    }

    fn take(&mut self, ctx: &Context, job: &Job<'_>, run_log: &mut RunLog) -> Result<()> {
        let Some((readback, step)) = self.pending.take() else { return Ok(()) };
        let rows: Vec<f32> = readback.wait(&ctx.gpu)?;
        run_log.arrived(step);
        let width = log_step::row_width(job.config.batch) as usize;
        for n in self.read..step {
            let row = &rows[(n % LOG_ROWS) as usize * width..][..width];
            if row[2] != 1.0 || !row[0].is_finite() {
                return Err(not_finite(ctx, job, run_log.folder(), n, row)?);
            }
            run_log.step(n, row, step_uniforms::learning_rate(job.config, n), job.objective.times())?;
        }
        self.read = step;
        Ok(())
    }
}

/// Says which step went wrong, and in the gradient of which tensor it is seen first.
fn not_finite(ctx: &Context, job: &Job<'_>, folder: &Path, n: u32, row: &[f32]) -> Result<Error> {
    let parameters = job.objective.model().parameters();
    let slab: Vec<f32> = ctx.read(GRADIENTS, 0, parameters.slab().len())?;
    let broken = |range: std::ops::Range<usize>| slab[range].iter().any(|g| !g.is_finite());
    let place = match parameters.iter().find(|p| !p.statistic && broken(p.range())) {
        Some(parameter) => format!(", seen first in the gradient of `{}`", parameter.name),
        None => String::new(),
    };
    let advice = "Lower --lr or --max-grad-norm, or raise --warmup";
    let rest = match pipeline::checkpoints(folder)?.pop() {
        Some((step, _)) => {
            format!("The checkpoint of step {step} is intact. {advice}, and go on with --resume {}", folder.display())
        }
        None => format!("There is no checkpoint yet. {advice}, and start again"),
    };
    Ok(Error::NonFinite(format!(
        "step {}: loss {} and gradient norm {} are not both finite{place}. {rest}",
        n + 1,
        row[0],
        row[1]
    )))
}

fn validate(ctx: &Context, job: &Job<'_>, program: &Program, run_log: &mut RunLog, n: u32) -> Result<()> {
    let config = job.config;
    let (mut losses, mut times): (Vec<f32>, Vec<f32>) = (vec![], vec![]);
    let mut judged: Option<(&str, f64)> = None;
    let batch = config.batch as usize;
    for first in (0..config.validation_count).step_by(batch) {
        let step = Step { seed_low: VALIDATION_SEED, first_image: first, ..Step::default() };
        program.run(ctx, &step)?;
        let count = batch.min((config.validation_count - first) as usize);
        let values: Vec<f32> = ctx.read(VALIDATION[0], 0, batch)?;
        let drawn: Vec<u32> = ctx.read(VALIDATION[1], 0, batch)?;
        losses.extend(&values[..count]);
        times.extend(drawn[..count].iter().map(|&t| t as f32));
        if let Some((what, share)) = job.objective.judge(ctx, count)? {
            let before = judged.map_or(0.0, |(_, sum)| sum);
            judged = Some((what, before + share * count as f64));
        }
    }
    let judged = judged.map(|(what, sum)| (what, sum / f64::from(config.validation_count)));
    run_log.validation(n, &losses, &times, job.objective.times(), judged)
}
