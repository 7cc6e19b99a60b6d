//! Code shared by the tasks: the model on a device, and the output.

use clap::Args;
use degrain::checkpoint::{Checkpoint, run_folder};
use degrain::cli::{DeviceOptions, ModelOptions};
use degrain::data::LoadOptions;
use degrain::diffusion::{BatchSpec, Denoiser, Generator, Sampling, SamplingOptions, SamplingPlan};
use degrain::gpu::Context;
use degrain::output::{Images, Layout, counted, grid, note};
use degrain::train::Settings;
use degrain::{Error, Result, cli, files, memory};
use std::path::{Path, PathBuf};

/// Name of the buffer of the weights.
const WEIGHTS: &str = "weights";

#[derive(Args)]
pub struct LoadedModel {
    #[command(flatten)]
    model: ModelOptions,
    /// Class of the images, for a model with classes: a name, or its number if no name is a number
    #[arg(long, allow_negative_numbers = true)]
    pub class: Option<String>,
    #[command(flatten)]
    device: DeviceOptions,
}

/// A model and a device.
pub struct Loaded {
    pub ctx: Context,
    pub checkpoint: Checkpoint,
    pub image: [u32; 3],
    pub class: Option<u32>,
    /// The class for messages.
    of_class: Option<String>,
    /// The options that set the number of images.
    batch: &'static str,
    /// The run folder, if the checkpoint belongs to a run.
    run: Option<PathBuf>,
}

impl LoadedModel {
    /// Opens the model and a device. `batch` names the options that set the number of images.
    pub fn load(&self, batch: &'static str) -> Result<Loaded> {
        let checkpoint = self.model.open()?;
        let unknown = || Error::file(&checkpoint.folder, "does not contain the size of its images");
        let image = checkpoint.denoiser(WEIGHTS)?.network.image_shape().ok_or_else(unknown)?;
        let class = checkpoint.class(self.class.as_deref(), None)?;
        let ctx = self.device.open()?;
        let run = run_folder(self.model.path(), &checkpoint.folder);
        let asked = self.class.as_deref().zip(class);
        let of_class = asked.map(|(wanted, class)| checkpoint.metadata.describe_class(wanted, class));
        Ok(Loaded { ctx, checkpoint, image, class, of_class, batch, run })
    }
}

/// The number of sampling steps of a task that chooses its sampler itself.
#[derive(Args)]
pub struct StepOptions {
    /// Sampling steps
    #[arg(long, default_value_t = 50)]
    pub steps: u32,
}

impl StepOptions {
    /// The sampling options of the command line, with a guidance scale.
    pub fn options(&self, guidance: f32) -> SamplingOptions {
        SamplingOptions { steps: Some(self.steps), guidance: Some(guidance), ..SamplingOptions::default() }
    }
}

impl Loaded {
    pub fn denoiser(&self) -> Result<Denoiser<'_>> {
        self.checkpoint.denoiser(WEIGHTS)
    }

    /// The plan of a sampler. Prints its warnings.
    pub fn plan(&self, sampling: &Sampling) -> Result<SamplingPlan> {
        let (plan, warnings) = sampling.plan(self.denoiser()?.process)?;
        warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        Ok(plan)
    }

    /// A generator of `count` images, in a context that holds only the weights.
    pub fn generator(
        &self,
        sampling: &Sampling,
        plan: SamplingPlan,
        count: u32,
        seed: u64,
    ) -> Result<(Context, Generator<'_>)> {
        let mut ctx = self.ctx.fork();
        self.checkpoint.load(&mut ctx, WEIGHTS)?;
        let guidance = sampling.guidance();
        let batch = BatchSpec { name: "edit", size: count, image: self.image, seed };
        let generator = Generator::new(&mut ctx, self.denoiser()?, guidance, plan, batch)
            .map_err(|problem| self.with_batch_options(problem))?;
        Ok((ctx, generator))
    }

    /// Prints what will be done.
    pub fn announce(&self, images: u32, steps: u32) {
        let (images, steps) = (counted(images, "image"), counted(steps, "step"));
        let class = self.of_class.iter().map(|class| format!(", {class}")).collect::<String>();
        note(format_args!(
            "{}: {images}, {steps}{class}, on {}",
            self.checkpoint.folder.display(),
            self.ctx.gpu.adapter()
        ));
    }

    /// Adds the options that make the batch smaller to a message that asks for a smaller batch.
    fn with_batch_options(&self, problem: Error) -> Error {
        let add = |text: String| {
            let of_batch = text.contains("smaller batch") || text.starts_with("batch size");
            if of_batch { format!("{text} (the batch is {})", self.batch) } else { text }
        };
        match problem {
            Error::TooLarge { what, bytes, limit, advice } => {
                Error::TooLarge { what, bytes, limit, advice: add(advice) }
            }
            Error::Config(text) => Error::Config(add(text)),
            Error::Device(text) => Error::Device(add(text)),
            other => other,
        }
    }

    /// Runs a plan on x, with one image per label.
    pub fn sample_from(&self, sampling: &Sampling, plan: SamplingPlan, x: &[f32], labels: &[u32]) -> Result<Vec<f32>> {
        let count = labels.len() as u32;
        let (ctx, generator) = self.generator(sampling, plan, count, 0)?;
        self.announce(count, generator.stages());
        let progress = cli::Progress::new();
        generator.sample_from(&ctx, x, labels, &mut |done| progress.set(done))
    }

    /// Whether the model gets classes with these settings.
    pub fn labeled(&self, sampling: &Sampling) -> Result<bool> {
        Ok(self.denoiser()?.network.classes().is_some() && sampling.guidance != 0.0)
    }

    /// The folder of the data set: `given`, or the run's, or the bundled one. Also returns whether
    /// nothing names it.
    pub fn data(&self, given: Option<&Path>) -> Result<(PathBuf, bool)> {
        let run = self.settings()?.and_then(|settings| settings.data);
        let named = given.map(Path::to_path_buf).or(run);
        let is_guessed = named.is_none();
        Ok((named.unwrap_or_else(|| "data/mnist".into()), is_guessed))
    }

    /// How images of a data set are read: at the model's size, as in training.
    pub fn load_options(&self) -> Result<LoadOptions> {
        let options = LoadOptions::of_model(Some(self.image));
        Ok(match self.settings()? {
            Some(settings) => {
                let LoadOptions { resize, skip_damaged, .. } = settings.load_options();
                LoadOptions { resize, skip_damaged, ..options }
            }
            None => options,
        })
    }

    /// The settings of the model's run, if there is one.
    fn settings(&self) -> Result<Option<Settings>> {
        self.run.as_deref().map(|run| Settings::read(&run.join("config.toml"))).transpose()
    }

    pub fn pixels(&self) -> usize {
        self.image.iter().map(|&n| n as usize).product()
    }

    /// Saves images in rows of `columns`.
    pub fn save(&self, path: &Path, images: &[f32], columns: usize, description: &str) -> Result<()> {
        let [channels, height, width] = self.image.map(|n| n as usize);
        let images = Images::from_f32(images, [images.len() / self.pixels(), channels, height, width]);
        let replaced = if path.exists() { " (replaced)" } else { "" };
        let layout = Layout { columns, scale: if height < 64 { 2 } else { 1 }, ..Layout::default() };
        grid::grid(&images, layout).save_png(path, &[("Software", "degrain"), ("Description", description)])?;
        files::print(format!("{}{replaced}\n", path.display()))
    }
}

/// Checks before long work that the picture can be written.
pub fn check_output(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|ending| ending != "png") {
        return Err(Error::Config(format!("--out {}: the name must end in .png", path.display())));
    }
    files::check_writable(path)
}

/// Refuses images and their picture that the memory cannot hold, `values` pixel values in all. `what`
/// names them, and `remedy` says what makes them fewer.
pub fn check_memory(values: usize, what: &str, remedy: &str) -> Result<()> {
    // The images in f32, twice, their bytes, and the picture with at most 2 x 2 pixels per pixel.
    let bytes = values as u128 * (2 * 4 + 1 + 4);
    if memory::fits(bytes) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{what} need {:.1} GB of memory, more than this system has: {remedy}",
        bytes as f64 * 1e-9
    )))
}
