//! Interpolation: samples from noises between two noises.

use super::model::{LoadedModel, StepOptions, check_memory, check_output};
use clap::Args;
use degrain::diffusion::interpolation;
use degrain::gpu::MAX_WORKGROUPS;
use degrain::{Error, Result};
use std::path::PathBuf;

#[derive(Args)]
pub struct Interpolate {
    #[command(flatten)]
    model: LoadedModel,
    #[command(flatten)]
    steps: StepOptions,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images per row, including both ends
    #[arg(long, default_value_t = 11)]
    columns: u32,
    /// Rows, one pair of noises each
    #[arg(long, default_value_t = 5)]
    rows: u32,
    /// Scale of classifier-free guidance
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    guidance: f32,
    /// Output file (PNG)
    #[arg(long, default_value = "interpolation.png")]
    out: PathBuf,
}

impl Interpolate {
    pub fn run(&self) -> Result<()> {
        if self.columns < 2 || self.rows == 0 {
            return Err(Error::Config("--columns must be at least 2 and --rows at least 1".into()));
        }
        let images = self.columns.checked_mul(self.rows).filter(|&images| images <= MAX_WORKGROUPS);
        let Some(count) = images else {
            let (columns, rows) = (self.columns, self.rows);
            return Err(Error::Config(format!(
                "--columns {columns} and --rows {rows} are too many images: use at most {MAX_WORKGROUPS} in all"
            )));
        };
        check_output(&self.out)?;
        let loaded = self.model.load("--rows times --columns")?;
        let sampling = loaded.checkpoint.deterministic_sampling(self.steps.options(self.guidance))?;
        sampling.check_class(self.model.class.as_deref())?;
        let plan = loaded.plan(&sampling)?;
        // One class per row.
        let classes = loaded.checkpoint.metadata.class_names.len().max(1) as u32;
        let label = |k: u32| loaded.class.unwrap_or(k / self.columns % classes);
        let labels: Vec<u32> = (0..count).map(label).collect();
        check_memory(count as usize * loaded.pixels(), "the images", "use fewer --rows or --columns")?;
        let shape = [self.rows, self.columns];
        let noise = plan.prior().of_unit(&interpolation::rows(shape, self.seed, loaded.pixels()));
        let images = loaded.sample_from(&sampling, plan, &noise, &labels)?;
        let text = format!("between two noises, seed {}", self.seed);
        loaded.save(&self.out, &images, self.columns as usize, &text)
    }
}
