//! The noise that images come from, and the images drawn from it again.

use super::common::{Model, test_images};
use clap::Args;
use degrain::diffusion::inversion;
use degrain::diffusion::sampler::StepSpec;
use degrain::{Error, Result, files};
use safetensors::tensor::{Dtype, TensorView};
use std::path::PathBuf;

#[derive(Args)]
pub struct Invert {
    #[command(flatten)]
    model: Model,
    /// Folder of the data set whose test images are inverted
    #[arg(long, default_value = "data/mnist")]
    data: PathBuf,
    /// Number of the first image
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Images
    #[arg(long, default_value_t = 10)]
    count: usize,
    /// Where to write the noise, as `sample --noise` takes it: a safetensors file
    #[arg(long)]
    noise: Option<PathBuf>,
    /// What to write: rows of images, of their noise, and of what is drawn from it
    #[arg(long, default_value = "inversion.png")]
    out: PathBuf,
}

impl Invert {
    pub fn run(&self) -> Result<()> {
        let mut loaded = self.model.load()?;
        let (images, labels) = test_images(&self.data, self.first, self.count, loaded.image)?;
        let class = self.model.class(&loaded.pipeline)?;
        let labels: Vec<u32> = labels.into_iter().map(|label| class.unwrap_or(label)).collect();
        let scheduler = loaded.deterministic();
        let spec = StepSpec { steps: self.model.steps, spacing: scheduler.spacing, offset: scheduler.steps_offset };
        let back = inversion::plan(&*loaded.pipeline.process, &spec)?;
        let (forth, _) = scheduler.plan_for(&*loaded.pipeline.process, self.model.steps)?;
        let generator = loaded.generator(&back, self.count as u32, 1.0, 0, "back")?;
        generator.begin(&loaded.ctx, 0, &labels, Some(&images))?;
        let noise = loaded.run(&generator)?;
        let generator = loaded.generator(&forth, self.count as u32, 1.0, 0, "forth")?;
        generator.begin(&loaded.ctx, 0, &labels, Some(&noise))?;
        let again = loaded.run(&generator)?;

        let error = images.iter().zip(&again).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / images.len() as f64;
        files::print(format!("root mean square difference to the images: {:.4} of a range of 2\n", error.sqrt()))?;
        if let Some(path) = &self.noise {
            let [channels, height, width] = loaded.image.map(|n| n as usize);
            let unit: Vec<f32> = noise.iter().map(|x| x / forth.prior_std).collect();
            let shape = vec![self.count, channels, height, width];
            let damaged = |e: safetensors::SafeTensorError| Error::file(path, e.to_string());
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&unit)).map_err(damaged)?;
            files::write_atomically(path, &safetensors::serialize([("noise", view)], None).map_err(damaged)?)?;
            files::print(format!("{}\n", path.display()))?;
        }
        // Noise of a larger deviation is shown as what `sample` would start from.
        let shown: Vec<f32> = noise.iter().map(|x| x / forth.prior_std).collect();
        let text = format!("images, their noise, and what {} steps make of it", self.model.steps);
        loaded.save(&self.out, &[images, shown, again].concat(), self.count, &text)
    }
}
