//! What the tasks share: the model on a device, and images from a data set or a file.

use clap::Args;
use degrain::data::{Split, load};
use degrain::diffusion::pipeline::{self, Pipeline};
use degrain::diffusion::{Generator, Request, SamplerName, SamplerOptions, SamplingPlan, SchedulerConfig};
use degrain::gpu::Context;
use degrain::output::{Images, Layout, Picture, grid};
use degrain::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// Name of the memory of the weights.
pub const WEIGHTS: &str = "weights";
/// Parts in which the progress bar counts.
const PARTS: f64 = 1000.0;

#[derive(Args)]
pub struct Model {
    /// Run folder, checkpoint folder, or diffusers folder
    #[arg(long)]
    pub checkpoint: PathBuf,
    /// Class of the images, by number or name, for a model that knows classes
    #[arg(long)]
    pub class: Option<String>,
    /// Steps of the sampler
    #[arg(long, default_value_t = 50)]
    pub steps: u32,
    /// Seed of all noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Adapter, by number or part of its name
    #[arg(long)]
    pub adapter: Option<String>,
}

/// A model on a device.
pub struct Loaded {
    pub ctx: Context,
    pub pipeline: Pipeline,
    pub image: [u32; 3],
}

impl Model {
    pub fn load(&self) -> Result<Loaded> {
        let folder = pipeline::locate(&self.checkpoint)?;
        let pipeline = Pipeline::read(&folder)?;
        pipeline.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let unknown = || Error::file(&folder, "does not say how large its images are");
        let image = pipeline.network.image_shape().ok_or_else(unknown)?;
        let ctx = Context::open(self.adapter.as_deref())?;
        let mut ctx = ctx.fork();
        pipeline.network.parameters().write(&mut ctx, WEIGHTS, &pipeline.weights)?;
        Ok(Loaded { ctx, pipeline, image })
    }

    /// The class by number or name; `None` if it was not given or the model knows none.
    pub fn class(&self, pipeline: &Pipeline) -> Result<Option<u32>> {
        let Some(wanted) = &self.class else { return Ok(None) };
        if pipeline.network.classes().is_none() {
            return Err(Error::Config(format!("--class {wanted}: the model was trained without classes")));
        }
        pipeline.card.class(wanted).map(Some)
    }
}

impl Loaded {
    /// The deterministic sampler of the model's kind of process.
    pub fn deterministic(&self) -> SchedulerConfig {
        let discrete = self.pipeline.process.schedule().is_some();
        let sampler = if discrete { SamplerName::Ddim } else { SamplerName::Euler };
        SchedulerConfig { sampler, options: SamplerOptions::default(), ..self.pipeline.scheduler.clone() }
    }

    pub fn generator(
        &mut self,
        plan: &SamplingPlan,
        batch: u32,
        guidance: f32,
        seed: u64,
        name: &str,
    ) -> Result<Generator> {
        let request = Request { batch, image: self.image, guidance, guidance_rescale: 0.0, classifier: None, seed };
        Generator::new(&mut self.ctx, &self.pipeline.denoiser(WEIGHTS), plan, &request, name)
    }

    /// Runs a generator that was begun, and returns its images.
    pub fn run(&self, generator: &Generator) -> Result<Vec<f32>> {
        let bar = bar();
        generator.run(&self.ctx, &self.pipeline.denoiser(WEIGHTS), 0, &mut |done| {
            bar.set_position((done * PARTS) as u64);
            Ok(())
        })?;
        bar.finish_and_clear();
        generator.images(&self.ctx)
    }

    pub fn pixels(&self) -> usize {
        self.image.iter().map(|&n| n as usize).product()
    }

    /// Saves images in rows of `columns`.
    pub fn save(&self, path: &Path, images: &[f32], columns: usize, description: &str) -> Result<()> {
        let [channels, height, width] = self.image.map(|n| n as usize);
        let images = Images::from_f32(images, [images.len() / self.pixels(), channels, height, width]);
        let layout = Layout { columns, scale: if height < 64 { 2 } else { 1 }, ..Layout::default() };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        grid::grid(&images, layout).save_png(path, &[("Software", "degrain"), ("Description", description)])?;
        degrain::files::print(format!("{}\n", path.display()))
    }
}

pub fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent} %  {eta_precise} left");
    ProgressBar::new(PARTS as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Images of the test split of a data set, in [-1, 1], with their labels.
pub fn test_images(data: &Path, first: usize, count: usize, image: [u32; 3]) -> Result<(Vec<f32>, Vec<u32>)> {
    let set = load(data, Split::Test)?;
    if set.shape() != image {
        let [ours, theirs] = [image, set.shape()].map(|[c, h, w]| format!("{c}x{h}x{w}"));
        return Err(Error::file(data, format!("its images are {theirs}, but the model's are {ours}")));
    }
    if first + count > set.count || count == 0 {
        return Err(Error::Config(format!(
            "images {first} to {} of {}, which has {}: use others",
            (first + count).saturating_sub(1),
            data.display(),
            set.count
        )));
    }
    let bytes = &set.images[first * set.pixels()..][..count * set.pixels()];
    Ok((bytes.iter().map(|&b| f32::from(b) / 127.5 - 1.0).collect(), set.labels[first..first + count].to_vec()))
}

/// A PNG file of the model's size, `[C, H, W]` in bytes.
pub fn read_png(path: &Path, [channels, height, width]: [u32; 3], what: &str) -> Result<Vec<u8>> {
    let picture = Picture::load_png(path)?;
    let found = [picture.channels, picture.height, picture.width].map(|n| n as u32);
    if found[1..] != [height, width] {
        let problem = format!("the {what} is {}x{}, but the model's images are {height}x{width}", found[1], found[2]);
        return Err(Error::file(path, problem));
    }
    if found[0] != channels {
        let problem = format!("the {what} has {} channels, but {channels} are needed", found[0]);
        return Err(Error::file(path, problem));
    }
    let (plane, channels) = (picture.height * picture.width, picture.channels);
    Ok((0..plane * channels).map(|i| picture.bytes[i % plane * channels + i / plane]).collect())
}
