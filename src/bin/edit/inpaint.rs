//! Inpainting: samples the unknown part of an image.

use super::images::{DataOptions, TestImages, read_png};
use super::model::{Loaded, LoadedModel, StepOptions, check_output};
use clap::Args;
use degrain::diffusion::inpaint::{Known, inpaint};
use degrain::diffusion::{SamplerName, SamplingOptions};
use degrain::output::{counted, note};
use degrain::{Error, Result, cli, files};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Inpaint {
    #[command(flatten)]
    model: LoadedModel,
    #[command(flatten)]
    steps: StepOptions,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Mask: a gray PNG file of the images' size, white (above 127) where the image is known
    #[arg(long)]
    mask: PathBuf,
    /// Image: a PNG file of the model's size and channels [default: a test image of --data]
    #[arg(long, value_name = "PNG", conflicts_with_all = ["data", "resize", "skip_damaged"])]
    image: Option<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
    /// Number of the test image
    #[arg(long, default_value_t = 0, conflicts_with = "image")]
    index: usize,
    /// Number of inpainted samples
    #[arg(long, default_value_t = 8)]
    count: u32,
    /// Passes through each step; more passes make the unknown part fit the known part better
    #[arg(long, default_value_t = 5)]
    passes: u32,
    /// Output file (PNG): the image, its known part, and the samples
    #[arg(long, default_value = "inpainting.png")]
    out: PathBuf,
}

impl Inpaint {
    pub fn run(&self) -> Result<()> {
        if self.count == 0 || self.passes == 0 {
            return Err(Error::Config("--count and --passes must be at least 1".into()));
        }
        check_output(&self.out)?;
        let inputs: Vec<&Path> =
            [Some(&self.mask), self.image.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect();
        files::check_not_input(&self.out, &inputs)?;
        let loaded = self.model.load("--count")?;
        let [_, height, width] = loaded.image;
        let mask = read_png(&self.mask, [1, height, width], "mask")?;
        let mask: Vec<bool> = mask.into_iter().map(|byte| byte > 127).collect();
        if mask.iter().all(|&known| known) {
            note("warning: the mask is white everywhere, so the whole image is known and nothing is sampled");
        } else if !mask.contains(&true) {
            note("warning: the mask has no white pixel (a value above 127), so nothing of the image is kept");
        }
        let (image, label) = match &self.image {
            Some(path) => {
                let bytes = read_png(path, loaded.image, "image")?;
                (bytes.into_iter().map(|b| f32::from(b) / 127.5 - 1.0).collect(), None)
            }
            None => {
                let wanted = TestImages { data: &self.data, option: "--index", first: self.index, count: 1 };
                let labeled = loaded.denoiser()?.network.classes().is_some();
                let (image, labels) = loaded.test_images(&wanted, labeled)?;
                (image, labels.first().copied())
            }
        };
        let class = loaded.class.or(label);
        let guidance = if class.is_none() && loaded.denoiser()?.network.classes().is_some() {
            without_class(&loaded)?
        } else {
            1.0
        };
        let discrete = loaded.denoiser()?.process.schedule().is_some();
        let sampler = if discrete { SamplerName::Ddpm } else { SamplerName::Euler };
        let options = SamplingOptions { sampler: Some(sampler), ..self.steps.options(guidance) };
        let sampling = loaded.checkpoint.sampling(options)?;
        let plan = loaded.plan(&sampling)?;
        let (ctx, generator) = loaded.generator(&sampling, plan, self.count, self.seed)?;
        loaded.announce(self.count, generator.stages());
        generator.begin(&ctx, &vec![class.unwrap_or(0); self.count as usize], 0)?;
        let known = Known { image: &image, mask: &mask, passes: self.passes, first_image: 0, seed: self.seed };
        let progress = cli::Progress::new();
        inpaint(&ctx, &generator, &known, &mut |done| progress.set(done))?;
        let filled = generator.images(&ctx)?;
        let left: Vec<f32> =
            image.iter().enumerate().map(|(i, &x)| if mask[i % mask.len()] { x } else { 0.0 }).collect();
        let text = format!("an image, its known part, and {}", counted(self.count, "sample"));
        loaded.save(&self.out, &[image, left, filled].concat(), self.count as usize + 2, &text)
    }
}

/// The guidance scale for an image of unknown class: 0, for the null class.
fn without_class(loaded: &Loaded) -> Result<f32> {
    let metadata = &loaded.checkpoint.metadata;
    if metadata.denoiser.labels.and_then(|labels| labels.null_class()).is_some() {
        note("no --class: the unknown part is sampled without a class");
        return Ok(0.0);
    }
    let classes = metadata.class_names.join(", ");
    Err(Error::Config(format!("--image: the class of the image is not known. Give --class with one of {classes}")))
}
