//! Inversion: finds the noise of images, and samples the images from this noise again.

use super::images::{DataOptions, TestImages, rms_difference};
use super::model::{LoadedModel, StepOptions, check_output};
use clap::Args;
use degrain::checkpoint::noise;
use degrain::diffusion::inversion;
use degrain::output::counted;
use degrain::{Error, Result, files};
use std::path::PathBuf;

#[derive(Args)]
pub struct Invert {
    #[command(flatten)]
    model: LoadedModel,
    #[command(flatten)]
    steps: StepOptions,
    #[command(flatten)]
    data: DataOptions,
    /// Number of the first image
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Number of images
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// Write the noise to this safetensors file, for `sample --noise`
    #[arg(long)]
    noise: Option<PathBuf>,
    /// Output file (PNG): a row of images, a row of their noise, and a row of images sampled from
    /// this noise
    #[arg(long, default_value = "inversion.png")]
    out: PathBuf,
}

impl Invert {
    pub fn run(&self) -> Result<()> {
        if self.count == 0 {
            return Err(Error::Config("--count must be at least 1".into()));
        }
        check_output(&self.out)?;
        if self.noise.as_ref() == Some(&self.out) {
            return Err(Error::Config("--noise and --out name the same file: choose another name for one".into()));
        }
        self.noise.as_deref().map_or(Ok(()), files::check_writable)?;
        let loaded = self.model.load("--count")?;
        let sampling = loaded.checkpoint.deterministic_sampling(self.steps.options(1.0))?;
        let back = inversion::plan(loaded.denoiser()?.process, &sampling.step_spec())?;
        let wanted = TestImages { data: &self.data, option: "--first", first: self.first, count: self.count };
        let (images, labels) = loaded.test_images(&wanted, loaded.labeled(&sampling)?)?;
        let (forth, _) = sampling.plan(loaded.denoiser()?.process)?;
        let prior = forth.prior();
        let noise = loaded.sample_from(&sampling, back, &images, &labels)?;
        let again = loaded.sample_from(&sampling, forth, &noise, &labels)?;

        let error = rms_difference(&images, &again);
        files::print(format!("root mean square difference to the images: {error:.4} of a range of 2\n"))?;
        let unit: Vec<f32> = prior.to_unit(&noise);
        if let Some(path) = &self.noise {
            let [channels, height, width] = loaded.image;
            noise::write(path, &unit, [self.count as u32, channels, height, width])?;
            files::print(format!("{}\n", path.display()))?;
        }
        let text =
            format!("images, their noise, and samples from this noise with {}", counted(self.steps.steps, "step"));
        loaded.save(&self.out, &[images, unit, again].concat(), self.count, &text)
    }
}
