//! Images with a hole.

use super::common::{Model, bar, read_png, test_images};
use clap::Args;
use degrain::diffusion::inpaint::{Known, inpaint};
use degrain::diffusion::{SamplerName, SamplerOptions, SchedulerConfig};
use degrain::{Error, Result};
use std::path::PathBuf;

#[derive(Args)]
pub struct Inpaint {
    #[command(flatten)]
    model: Model,
    /// The mask: a grey PNG file of the images' size, white where the image is known
    #[arg(long)]
    mask: PathBuf,
    /// The image: a PNG file of the model's size and channels; an image of the data set unless given
    #[arg(long, value_name = "PNG")]
    image: Option<PathBuf>,
    /// Folder of the data set whose test image is taken
    #[arg(long, default_value = "data/mnist", conflicts_with = "image")]
    data: PathBuf,
    /// Number of the test image
    #[arg(long, default_value_t = 0, conflicts_with = "image")]
    index: usize,
    /// Ways in which to fill it
    #[arg(long, default_value_t = 8)]
    count: u32,
    /// Passes through each step, in which the new part comes to fit the known one
    #[arg(long, default_value_t = 5)]
    passes: u32,
    /// What to write: the image, what is known of it, and the ways to fill it
    #[arg(long, default_value = "inpainting.png")]
    out: PathBuf,
}

impl Inpaint {
    pub fn run(&self) -> Result<()> {
        if self.count == 0 || self.passes == 0 {
            return Err(Error::Config("--count and --passes must be at least 1".into()));
        }
        let mut loaded = self.model.load()?;
        let [_, height, width] = loaded.image;
        let mask = read_png(&self.mask, [1, height, width], "mask")?;
        let mask: Vec<bool> = mask.into_iter().map(|byte| byte > 127).collect();
        let (image, label) = match &self.image {
            Some(path) => {
                let bytes = read_png(path, loaded.image, "image")?;
                (bytes.into_iter().map(|b| f32::from(b) / 127.5 - 1.0).collect(), None)
            }
            None => {
                let (image, labels) = test_images(&self.data, self.index, 1, loaded.image)?;
                (image, labels.first().copied())
            }
        };
        let class = self.model.class(&loaded.pipeline)?.or(label).unwrap_or(0);
        let discrete = loaded.pipeline.process.schedule().is_some();
        let sampler = if discrete { SamplerName::Ddpm } else { loaded.deterministic().sampler };
        let scheduler =
            SchedulerConfig { sampler, options: SamplerOptions::default(), ..loaded.pipeline.scheduler.clone() };
        let (plan, warnings) = scheduler.plan_for(&*loaded.pipeline.process, self.model.steps)?;
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let generator = loaded.generator(&plan, self.count, 1.0, self.model.seed, "edit")?;
        generator.begin(&loaded.ctx, 0, &vec![class; self.count as usize], None)?;
        let known = Known { image: &image, mask: &mask, passes: self.passes, seed: self.model.seed };
        let progress = bar();
        inpaint(&loaded.ctx, &generator, &*loaded.pipeline.process, &plan, &known, &mut |done| {
            progress.set_position((done * 1000.0) as u64);
            Ok(())
        })?;
        progress.finish_and_clear();
        let filled = generator.images(&loaded.ctx)?;
        let left: Vec<f32> =
            image.iter().enumerate().map(|(i, &x)| if mask[i % mask.len()] { x } else { 0.0 }).collect();
        let text = format!("an image, what is known of it, and {} ways to fill it", self.count);
        loaded.save(&self.out, &[image, left, filled].concat(), self.count as usize + 2, &text)
    }
}
