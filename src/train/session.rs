//! From settings to a job: the data set, the model and the process that they name, and what there is to say of them.

use super::data_loader::DataLoader;
use super::evaluation;
use super::objective::Objective;
use super::objectives::objective;
use super::programs::Job;
use super::settings::{Config, Settings};
use crate::data::{Dataset, Split, load};
use crate::diffusion::pipeline;
use crate::files::print;
use crate::gpu::Context;
use crate::ops::measure_peaks;
use crate::tape::{Checker, Profile, Program, Step};
use crate::{Error, Result};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Runs of which `--profile` takes the median.
const PROFILED: usize = 3;

/// Everything that a run is about, before it touches the device.
pub struct Session {
    /// The settings.
    pub config: Config,
    /// The images.
    pub dataset: Arc<Dataset>,
    /// What is trained, and for what.
    pub objective: Box<dyn Objective>,
    /// How the images reach the device.
    pub loader: DataLoader,
}

impl Session {
    /// Completes the settings for a device, reads the data set and makes the model.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; a data set that is missing or damaged.
    pub fn open(ctx: &Context, settings: Settings) -> Result<Session> {
        let config = settings.resolve(ctx.target().variant)?;
        let dataset = load(&config.data, Split::Train)?;
        Session::with(ctx, config, dataset)
    }

    /// Of settings and a data set that is there already.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data.
    pub fn with(ctx: &Context, mut config: Config, dataset: Dataset) -> Result<Session> {
        let (held_back, count) = (config.validation_count as usize, dataset.count);
        if held_back >= count {
            return Err(Error::Config(format!(
                "--validation-count {held_back} leaves none of the {count} images of {} to train on",
                config.data.display()
            )));
        }
        config.process = config.process.measured(dataset.statistics.std);
        let objective = objective(&config, &dataset)?;
        // Before hours of training lead there.
        evaluation::ruler(&config, &*objective, &dataset)?;
        let loader = DataLoader::new(ctx, &config, &dataset)?;
        Ok(Session { config, dataset: Arc::new(dataset), objective, loader })
    }

    /// What the programs are recorded for.
    pub fn job(&self) -> Job<'_> {
        Job { config: &self.config, objective: &*self.objective, dataset: &self.dataset, loader: &self.loader }
    }

    /// What is going to be trained on what, with warnings.
    pub fn describe(&self, ctx: &Context) -> String {
        let (config, data) = (&self.config, &self.dataset);
        let mut text = String::new();
        let mut line = |what: std::fmt::Arguments<'_>| text.write_fmt(format_args!("{what}\n")).unwrap_or_default();
        line(format_args!("adapter   {} , kernels {}", ctx.gpu.adapter(), ctx.target()));
        line(format_args!(
            "data      {}: {} images of {}x{}x{}, {} classes ({}){}{}",
            data.name,
            data.count,
            data.channels,
            data.height,
            data.width,
            data.classes,
            config.data.display(),
            if self.loader.streamed() { ", streamed" } else { "" },
            if self.loader.random_flip() { ", mirrored at random" } else { "" },
        ));
        for file in &data.files {
            let known = file.known.map_or("unknown".into(), |name| format!("known: {name}"));
            line(format_args!("          {} sha256 {}… ({known})", file.path.display(), &file.sha256[..16]));
        }
        let model = self.objective.model();
        line(format_args!(
            "model     preset {}, size {:?}: {}, {:?} channels, {} parameters, {} classes",
            config.preset,
            config.size,
            model.class(),
            config.block_out_channels,
            model.parameters().count(),
            if config.unconditional { "no".into() } else { data.classes.to_string() },
        ));
        line(format_args!("process   {}", self.objective.describe()));
        line(format_args!(
            "training  {} steps of {} images, seed {}, into {}",
            config.steps,
            config.batch,
            config.seed,
            config.out.display()
        ));
        if let Some(warning) = self.objective.warning() {
            line(format_args!("warning: {warning}"));
        }
        text
    }

    /// What `--dry-run`, `--listing`, `--profile` and `--verify` print of a training step.
    ///
    /// # Errors
    /// The device's; a kernel that `--verify` finds wrong.
    pub fn inspect(&self, ctx: &mut Context, listing: bool, profile: bool, verify: bool) -> Result<()> {
        let job = self.job();
        let tape = job.training(ctx.target());
        match listing {
            true => print(tape.listing())?,
            false => print(tape.summary())?,
        }
        if profile {
            job.load(ctx)?;
            let peaks = measure_peaks(ctx)?;
            let program = Program::compile(ctx, &tape)?;
            let step = super::step_uniforms::step(&self.config, job.training_images(), 0);
            print(format!("{peaks}\n{}", Profile::measure(ctx, &tape, &program, &step, PROFILED, peaks)?))?;
        }
        if verify {
            self.verify(ctx)?;
        }
        Ok(())
    }

    /// Checks a step of a batch of two: the references are slow.
    fn verify(&self, ctx: &Context) -> Result<()> {
        let config = Config { batch: 2, ..self.config.clone() };
        let loader = DataLoader::new(ctx, &config, &self.dataset)?;
        let job = Job { config: &config, loader: &loader, ..self.job() };
        let tape = job.training(ctx.target());
        let mut ctx = ctx.fork();
        job.load(&mut ctx)?;
        for (name, bytes) in tape.buffer_sizes() {
            ctx.require(&name, bytes.max(ctx.buffers.bytes(&name)))?;
        }
        let parameters = self.objective.model().parameters();
        let fresh = parameters.initialize(config.seed, crate::nn::Initialization::PyTorch);
        parameters.write(&mut ctx, crate::nn::PARAMETERS, &fresh)?;
        let step: Step = super::step_uniforms::step(&config, job.training_images(), 1);
        let checker = Checker::new(&mut ctx, &tape, step)?;
        let bar = indicatif::ProgressBar::new(tape.sections().len() as u64);
        let outcome = checker.check(|done, _| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        match outcome {
            Ok(()) => print(format!(
                "verified: {} kernel calls of {} operators agree with their references\n",
                tape.calls().len(),
                tape.sections().len()
            )),
            Err(mismatch) => Err(Error::Device(format!(
                "a kernel computes something else than its reference on {}:\n{mismatch}",
                ctx.gpu.adapter()
            ))),
        }
    }
}

/// Nothing is overwritten unsaid: a folder that holds a run is resumed, or another is chosen.
///
/// # Errors
/// The folder holds checkpoints.
pub fn refuse_to_overwrite(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    match pipeline::checkpoints(folder)?.pop() {
        None => Ok(()),
        Some((step, _)) => Err(Error::Config(format!(
            "{0} already holds a run of {step} steps. Go on with --resume {0}, choose another --out, or remove it",
            folder.display()
        ))),
    }
}
