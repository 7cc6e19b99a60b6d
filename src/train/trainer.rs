//! [`Trainer`]: a training run, from its settings to its last checkpoint.

use super::buffers::EMA;
use super::config::{Config, Settings, Size};
use super::data_loader::DataLoader;
use super::default_size::DefaultSize;
use super::hold_out;
use super::load_images::load_images;
use super::objective::Objective;
use super::objectives;
use super::origin::Origin;
use super::ranks::Ranks;
use super::run_name;
use super::step_uniforms;
use crate::checkpoint::checkpoints;
use crate::data::Dataset;
use crate::diffusion::latent_prior::Mixture;
use crate::gpu::Context;
use crate::metrics::feature_extractor::FeatureExtractor;
use crate::nn::PARAMETERS;
use crate::ops::measure_peak_flops;
use crate::output::counted;
use crate::tape::Step;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Name of the data set in `config.toml` for a run on images from memory.
const IN_MEMORY: &str = "(in memory)";

/// Trains one model on one data set.
///
/// Create a trainer from settings, continue an existing run if needed, and call `run` once:
///
/// ```no_run
/// use degrain::gpu::Context;
/// use degrain::train::{Settings, Trainer};
/// use std::sync::atomic::AtomicBool;
///
/// let ctx = Context::open(None)?;
/// let preset = Some("ddpm".into());
/// let settings = Settings { preset, steps: Some(1000), ..Settings::default() };
/// Trainer::new(&ctx, settings)?.run(&AtomicBool::new(false))?;
/// # Ok::<(), degrain::Error>(())
/// ```
pub struct Trainer {
    pub(super) config: Config,
    pub(super) dataset: Arc<Dataset>,
    /// SHA-256 of the data set, in its own order.
    pub(super) data_sha256: String,
    pub(super) objective: Rc<dyn Objective>,
    pub(super) loader: DataLoader,
    pub(super) ranks: Ranks,
    pub(super) ctx: Context,
    /// The checkpoint to continue from, with its number of finished steps.
    pub(super) checkpoint: Option<(u32, PathBuf)>,
    /// Steps of the newest checkpoint when one was chosen.
    pub(super) newest: Option<u32>,
    /// Settings that differ from those of the run's last start.
    pub(super) changed: Vec<String>,
    pub(super) stop_after: Option<u32>,
    /// Name of the run, unique: it tells its checkpoints from those of other runs.
    pub(super) run: String,
    /// Where the weights come from, for a new run that starts from them.
    pub(super) origin: Option<Origin>,
    /// The first values of the parameters and of their EMA; `None` for random ones.
    pub(super) initial: Option<Vec<f32>>,
    /// The mixture that an autoencoder's latents are drawn from, when training has ended.
    pub(super) latents: Option<Mixture>,
    /// The size, if it was chosen for the device.
    pub(super) default_size: Option<DefaultSize>,
    /// Whether the run shows no progress.
    pub(super) quiet: bool,
}

impl Trainer {
    /// Completes the settings, reads the data set and builds the model. The trainer has separate
    /// named buffers on the device of `ctx`.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; a data set that is missing or damaged.
    pub fn new(ctx: &Context, settings: Settings) -> Result<Trainer> {
        let dataset = load_images(&settings)?;
        Trainer::from_settings(ctx, settings, dataset)
    }

    /// Like [`Trainer::new`], for a data set in memory.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data.
    pub fn with_data(ctx: &Context, settings: Settings, dataset: Dataset) -> Result<Trainer> {
        Trainer::from_settings(ctx, in_memory(settings), dataset)
    }

    /// Like [`Trainer::with_data`], for an objective that settings cannot select. The default size
    /// is `tiny` here.
    ///
    /// # Errors
    /// As [`Trainer::with_data`].
    pub fn with_objective(
        ctx: &Context,
        settings: Settings,
        dataset: Dataset,
        objective: impl Objective + 'static,
    ) -> Result<Trainer> {
        let config = in_memory(settings).resolve(Size::Tiny)?;
        Trainer::from_parts(ctx, config, dataset, Rc::new(objective))
    }

    /// A trainer with other settings on the same data set, which is not read again. Its default
    /// size is that of this trainer.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; another `data` or `validation_count`.
    pub fn with_settings(&self, settings: Settings) -> Result<Trainer> {
        let settings =
            settings.or(Settings { validation_count: Some(self.config.validation_count), ..Settings::default() });
        let mut config = settings.resolve(self.config.size)?;
        if config.data != self.config.data || config.validation_count != self.config.validation_count {
            return Err(Error::Config("the data set and the number of validation images must stay the same".into()));
        }
        config.process = config.process.measured(self.dataset.statistics.rms());
        let objective = objectives::from_config(&config, &self.dataset)?;
        self.sibling(config, objective)
    }

    /// A trainer on the same data set, with separate buffers.
    pub(super) fn sibling(&self, config: Config, objective: Rc<dyn Objective>) -> Result<Trainer> {
        Trainer::assemble(&self.ctx, config, self.dataset.clone(), self.data_sha256.clone(), objective)
    }

    fn from_settings(ctx: &Context, settings: Settings, dataset: Dataset) -> Result<Trainer> {
        let dataset = Arc::new(dataset);
        let (settings, default_size) = with_default_size(ctx, settings, &dataset)?;
        let settings = hold_out::with_default(settings, dataset.count)?;
        let mut config = settings.resolve(Size::Tiny)?;
        config.process = config.process.measured(dataset.statistics.rms());
        let objective = objectives::from_config(&config, &dataset)?;
        let trainer = Trainer::from_parts(ctx, config, Arc::unwrap_or_clone(dataset), objective)?;
        Ok(Trainer { default_size, ..trainer })
    }

    pub(super) fn from_parts(
        ctx: &Context,
        config: Config,
        mut dataset: Dataset,
        objective: Rc<dyn Objective>,
    ) -> Result<Trainer> {
        // Before the images change their order.
        let data_sha256 = dataset.sha256();
        check_hold_out(&config, &dataset)?;
        hold_out::move_to_end(&mut dataset, config.validation_count as usize);
        Trainer::assemble(ctx, config, Arc::new(dataset), data_sha256, objective)
    }

    /// A trainer whose tape can be recorded, and which must not train: the validation images have
    /// not been separated, and the data set is not compared with a run's. The default size is
    /// `tiny`.
    pub(super) fn unprepared(ctx: &Context, settings: Settings, dataset: &Arc<Dataset>) -> Result<Trainer> {
        // Without evaluations it needs no feature extractor, which may have been moved.
        let settings = Settings { evaluate_every: Some(0), ..settings };
        let mut config = in_memory(settings).resolve(Size::Tiny)?;
        config.process = config.process.measured(dataset.statistics.rms());
        check_hold_out(&config, dataset)?;
        let objective = objectives::from_config(&config, dataset)?;
        Trainer::assemble(ctx, config, dataset.clone(), String::new(), objective)
    }

    /// A trainer of a data set whose validation images are at its end.
    fn assemble(
        ctx: &Context,
        config: Config,
        dataset: Arc<Dataset>,
        data_sha256: String,
        objective: Rc<dyn Objective>,
    ) -> Result<Trainer> {
        let ranks = Ranks::single(config.batch);
        let loader = DataLoader::new(ctx, &config, &dataset, ranks.part)?;
        // Its ranks divide steps, not measurements.
        let ctx = ctx.fork_alone();
        let trainer = Trainer {
            config,
            dataset,
            data_sha256,
            objective,
            loader,
            ranks,
            ctx,
            checkpoint: None,
            newest: None,
            changed: vec![],
            stop_after: None,
            quiet: false,
            origin: None,
            initial: None,
            latents: None,
            default_size: None,
            run: run_name::unique(),
        };
        // A missing feature extractor is reported now, not hours later.
        trainer.feature_extractor()?;
        Ok(trainer)
    }

    /// Continues from the last checkpoint in the run's folder ([`Config::out`]) that can be read.
    /// The result is bit for bit the same as without the interruption.
    ///
    /// # Errors
    /// A folder without a checkpoint; a run that has finished its steps and their measurements;
    /// another data set, or a setting that changes the meaning of the weights.
    pub fn resume(self) -> Result<Trainer> {
        let run = self.config.out.clone();
        self.continued(&run, None)
    }

    /// Like [`Trainer::resume`], from the checkpoint of `step`. Later checkpoints are kept as
    /// `abandoned-checkpoint-STEP`.
    ///
    /// # Errors
    /// As [`Trainer::resume`]; a checkpoint that the run does not have or that is damaged.
    pub fn resume_from(self, step: u32) -> Result<Trainer> {
        let run = self.config.out.clone();
        self.continued(&run, Some(step))
    }

    /// Continues from the last checkpoint of a run, or from that of `step`.
    pub(super) fn continued(mut self, run: &Path, step: Option<u32>) -> Result<Trainer> {
        let problem = format!("holds no checkpoint yet: start it again with {}", Trainer::restart_options(run));
        let nothing = Error::file(run, problem);
        self.newest = all_checkpoints(run)?.last().map(|(step, _)| *step);
        if self.newest.is_none() {
            return Err(nothing);
        }
        let before = self.earlier_config(run)?;
        self.changed = self.differences(run, &before)?;
        let (finished, checkpoint) = match step {
            Some(step) => self.checkpoint_of(run, step)?,
            None => self.newest_intact(run)?.ok_or(nothing)?,
        };
        if finished > self.config.steps || finished == self.config.steps && self.is_complete(run, finished)? {
            return Err(has_finished(run, finished));
        }
        self.changed.extend(step_uniforms::learning_rate_jump(&before, &self.config, finished));
        self.checkpoint = Some((finished, checkpoint));
        Ok(self)
    }

    /// Continues from the last checkpoint in the run's folder, or starts a new run if there is
    /// none.
    ///
    /// # Errors
    /// A folder that cannot be read; another data set, or a setting that changes the meaning of the
    /// weights.
    pub fn resume_or_start(mut self) -> Result<Trainer> {
        let run = self.config.out.clone();
        self.newest = all_checkpoints(&run)?.last().map(|(step, _)| *step);
        if self.newest.is_some() {
            let before = self.earlier_config(&run)?;
            self.changed = self.differences(&run, &before)?;
            self.checkpoint = self.newest_intact(&run)?;
            self.changed.extend(step_uniforms::learning_rate_jump(&before, &self.config, self.finished_steps()));
        }
        if self.finished_steps() > self.config.steps {
            return Err(has_finished(&self.config.out, self.finished_steps()));
        }
        Ok(self)
    }

    /// Saves a checkpoint and stops after this number of finished steps, counted from the start of
    /// the run.
    pub fn stop_after(mut self, steps: Option<u32>) -> Trainer {
        self.stop_after = steps;
        self
    }

    /// Shows no progress: the run is a part of other work.
    pub(crate) fn quiet(mut self) -> Trainer {
        self.quiet = true;
        self
    }

    /// The complete settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The images.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The model and its loss. Clone it to use it while the context is borrowed mutably.
    pub fn objective(&self) -> &Rc<dyn Objective> {
        &self.objective
    }

    /// The device, and the named buffers of this run.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// Like [`Trainer::context`], to compile programs that use the run's buffers.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.ctx
    }

    /// Settings that differ from those with which the run was last started, such as
    /// `batch: 32 -> 64`. Empty for a new run.
    pub fn changed_settings(&self) -> &[String] {
        &self.changed
    }

    /// Where the weights come from, for a new run that starts from those of another one.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Whether all steps are finished, and the measurements after the last one.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn is_finished(&self) -> Result<bool> {
        let finished = self.finished_steps();
        Ok(finished >= self.config.steps && self.is_complete(&self.config.out, finished)?)
    }

    /// Finished steps of the checkpoint to continue from; 0 for a new run.
    pub fn finished_steps(&self) -> u32 {
        self.checkpoint.as_ref().map_or(0, |(steps, _)| *steps)
    }

    /// Number of training images: all images except the last ones, which are the validation images.
    /// They were moved there: a random share of each class.
    pub fn training_images(&self) -> u32 {
        self.dataset.count as u32 - self.config.validation_count
    }

    /// The feature extractor for evaluations during training. `None` if there are no evaluations or
    /// the model does not generate images.
    ///
    /// # Errors
    /// A feature extractor that is missing or made for other images; too few samples for a
    /// covariance.
    pub(super) fn feature_extractor(&self) -> Result<Option<FeatureExtractor>> {
        if self.config.evaluate_every == 0 || self.objective.generative().is_none() {
            return Ok(None);
        }
        let extractor = FeatureExtractor::open(&self.config.feature_extractor)?;
        extractor.check(&self.dataset)?;
        let (count, width) = (self.config.evaluate_count, extractor.width());
        if count as usize <= width {
            return Err(Error::Config(format!(
                "--evaluate-count {count}: the Frechet distance of {width} features needs at least {} images",
                width + 1
            )));
        }
        Ok(Some(extractor))
    }

    /// The uniforms of the step after `finished` steps, for this rank's part of the batch.
    pub fn step_uniforms(&self, finished: u32) -> Step {
        step_uniforms::step(&self.config, self.training_images(), finished, self.ranks.part.first)
    }

    /// Uploads the data set, the tables of the objective, and the initial values of its state.
    ///
    /// # Errors
    /// Errors of the device, such as too little memory.
    pub fn upload(&mut self) -> Result<()> {
        let training = self.training_images();
        self.loader.upload(&mut self.ctx, &self.dataset, training)?;
        for (name, table) in self.objective.tables().into_iter().chain(self.objective.state()) {
            let bytes = size_of_val(&table[..]) as u64;
            self.ctx.require(name, bytes.next_multiple_of(16))?;
            self.ctx.write(name, 0, &table)?;
        }
        Ok(())
    }

    /// Initializes the parameters and their EMA. Compile a program that uses them first.
    ///
    /// # Errors
    /// [`Error::Config`] if the buffers do not exist yet.
    pub fn initialize(&mut self) -> Result<()> {
        let parameters = self.objective.model().parameters();
        let first = match &self.initial {
            Some(values) => values.clone(),
            None => parameters.initialize(self.config.seed, self.config.initialization),
        };
        parameters.write(&mut self.ctx, PARAMETERS, &first)?;
        parameters.write(&mut self.ctx, EMA, &first)
    }
}

impl Settings {
    /// These settings with a size. If they have none, the peak of the device is measured, in well
    /// under a second, and the default for it and their data set is also returned.
    ///
    /// # Errors
    /// A device that was lost; a data set that is missing or damaged.
    pub fn with_default_size(self, ctx: &Context) -> Result<(Settings, Option<DefaultSize>)> {
        if self.size.is_some() {
            return Ok((self, None));
        }
        let images = load_images(&self)?;
        with_default_size(ctx, self, &Arc::new(images))
    }
}

fn with_default_size(
    ctx: &Context,
    settings: Settings,
    images: &Arc<Dataset>,
) -> Result<(Settings, Option<DefaultSize>)> {
    if settings.size.is_some() {
        return Ok((settings, None));
    }
    let flops = |size| {
        // Without validation images, which a small data set may not have.
        let settings = Settings { size: Some(size), validation_count: Some(0), ..settings.clone() };
        let trainer = Trainer::unprepared(ctx, settings, images)?;
        Ok(trainer.training_tape()?.summary().flops as f64 * f64::from(trainer.config.steps))
    };
    let default = DefaultSize::choose(measure_peak_flops(ctx)?, flops)?;
    Ok((Settings { size: Some(default.size), ..settings }, Some(default)))
}

/// Refuses a number of validation images that leaves none to train on.
fn check_hold_out(config: &Config, dataset: &Dataset) -> Result<()> {
    let held_out = config.validation_count;
    if (held_out as usize) < dataset.count {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--validation-count {held_out} leaves none of the {} of {} to train on: use a smaller one, such as \
         --validation-count {}",
        counted(dataset.count, "image"),
        config.data.display(),
        dataset.count / 10
    )))
}

fn has_finished(run: &Path, steps: u32) -> Error {
    let problem = format!(
        "has finished {}: to train further, add a larger --steps, counted from its start",
        counted(steps, "step")
    );
    Error::file(run, problem)
}

fn in_memory(settings: Settings) -> Settings {
    settings.or(Settings { data: Some(IN_MEMORY.into()), ..Settings::default() })
}

/// The checkpoints of a run folder with their numbers of finished steps, oldest first. Empty if
/// there is no folder.
pub(super) fn all_checkpoints(run: &Path) -> Result<Vec<(u32, PathBuf)>> {
    if run.is_dir() { checkpoints(run) } else { Ok(vec![]) }
}
