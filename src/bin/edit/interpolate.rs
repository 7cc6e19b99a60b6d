//! The samples between two noises.

use super::common::Model;
use clap::Args;
use degrain::Result;
use degrain::diffusion::interpolation::spherical;
use degrain::rng::{key, normal4, philox};
use degrain::tape::stream;
use std::path::PathBuf;

#[derive(Args)]
pub struct Interpolate {
    #[command(flatten)]
    model: Model,
    /// Images in a row, both ends included
    #[arg(long, default_value_t = 11)]
    columns: u32,
    /// Rows: pairs of noises
    #[arg(long, default_value_t = 5)]
    rows: u32,
    /// Scale of classifier-free guidance
    #[arg(long, default_value_t = 1.0)]
    guidance: f32,
    /// What to write
    #[arg(long, default_value = "interpolation.png")]
    out: PathBuf,
}

impl Interpolate {
    pub fn run(&self) -> Result<()> {
        if self.columns < 2 || self.rows == 0 {
            return Err(degrain::Error::Config("--columns must be at least 2 and --rows at least 1".into()));
        }
        let mut loaded = self.model.load()?;
        let scheduler = loaded.deterministic();
        let (plan, warnings) = scheduler.plan_for(&*loaded.pipeline.process, self.model.steps)?;
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        let class = self.model.class(&loaded.pipeline)?;
        let classes = loaded.pipeline.card.class_names.len().max(1) as u32;
        let count = self.columns * self.rows;
        let labels: Vec<u32> = (0..count).map(|k| class.unwrap_or(k / self.columns % classes)).collect();
        let pixels = loaded.pixels();
        // Noise 2 r and 2 r + 1 of the seed are the ends of row r, as `sample` would draw them.
        let end = |number: u32| -> Vec<f32> {
            let normal =
                |i: usize| normal4(philox([stream::SAMPLE, 0, number, i as u32 / 4], key(self.model.seed)))[i % 4];
            (0..pixels).map(|i| (normal(i) * f64::from(plan.prior_std)) as f32).collect()
        };
        let row = |row: u32| {
            let (a, b) = (end(2 * row), end(2 * row + 1));
            (0..self.columns)
                .flat_map(move |k| spherical(&a, &b, f64::from(k) / f64::from(self.columns - 1)))
                .collect::<Vec<_>>()
        };
        let noise: Vec<f32> = (0..self.rows).flat_map(row).collect();
        let generator = loaded.generator(&plan, count, self.guidance, self.model.seed, "edit")?;
        generator.begin(&loaded.ctx, 0, &labels, Some(&noise))?;
        let images = loaded.run(&generator)?;
        let text = format!("between two noises, seed {}", self.model.seed);
        loaded.save(&self.out, &images, self.columns as usize, &text)
    }
}
