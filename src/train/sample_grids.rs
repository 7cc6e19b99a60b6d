//! Images of a run: grids of samples during training, and strips of the forward and reverse process
//! when it ends.

use super::buffers::EMA;
use super::objective::SampleRequest;
use super::run_log::Grid;
use super::trainer::Trainer;
use crate::Result;
use crate::nn::PARAMETERS;
use crate::output::{ClassGrid, Images, Layout, grid, note, strip};
use crate::rng::{key, normal4, philox};
use crate::tape::stream;
use std::sync::atomic::AtomicBool;

/// Columns of a strip.
const STRIP_COLUMNS: u32 = 11;
/// Rows of a strip.
const STRIP_ROWS: u32 = 4;
/// Pixels per pixel of an image.
const SCALE: usize = 2;

impl Trainer {
    /// Samples two grids after `finished` steps, with the EMA weights and with the raw weights. The
    /// noise is always the same, and the classes are those of [`ClassGrid`]. Empty for a model that
    /// does not generate images.
    ///
    /// # Errors
    /// Settings that the sampler does not support.
    pub(super) fn sample_grids(&mut self, finished: u32, stop: &AtomicBool) -> Result<Vec<Grid>> {
        let Some(model) = self.objective.generative() else { return Ok(vec![]) };
        let shape = ClassGrid::new(self.dataset.class_names.len());
        let labels: Vec<u32> = (0..shape.count).map(|k| shape.label(k)).collect();
        let layout = Layout { columns: shape.columns, scale: SCALE, ..Layout::default() };
        let mut grids = vec![];
        for (weights, tag) in [(EMA, "ema"), (PARAMETERS, "raw")] {
            let latents = self.latents.as_ref();
            let request =
                SampleRequest { weights, labels: &labels, first: 0, name: "grid", latents, snapshots: 0, stop };
            let images = model.sample(&mut self.ctx, &self.config, &request)?;
            let description = format!("step {finished}, {tag} weights, guidance {}", self.config.guidance);
            grids.extend(images.last().map(|images| Grid { tag, picture: grid::grid(images, layout), description }));
        }
        Ok(grids)
    }

    /// Writes `forward.png` (images become noise) and `reverse.png` (noise becomes images), if the
    /// model has these processes.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save_strips(&mut self, stop: &AtomicBool) -> Result<()> {
        let Some(model) = self.objective.generative() else { return Ok(()) };
        let layout = Layout { scale: SCALE, ..Layout::default() };
        let text = [("Software", "degrain")];
        let forward = self.forward_process(&model.forward_process(STRIP_COLUMNS));
        if !forward.is_empty() {
            strip::strip(&forward, layout).save_png(&self.config.out.join("forward.png"), &text)?;
        }
        if !forward.is_empty() {
            note("sampling the pictures of the process");
        }
        let classes = self.dataset.class_names.len().max(1) as u32;
        let labels: Vec<u32> = (0..STRIP_ROWS).map(|k| k % classes).collect();
        let snapshots = STRIP_COLUMNS - 1;
        let latents = self.latents.as_ref();
        let request =
            SampleRequest { weights: EMA, labels: &labels, first: 0, name: "strip", latents, snapshots, stop };
        let reverse = model.sample(&mut self.ctx, &self.config, &request)?;
        if reverse.len() > 1 {
            strip::strip(&reverse, layout).save_png(&self.config.out.join("reverse.png"), &text)?;
        }
        Ok(())
    }

    /// The first images of the data set, noised with each pair (a, b) of factors: a x0 + b eps.
    fn forward_process(&self, factors: &[[f32; 2]]) -> Vec<Images<'static>> {
        let data = &self.dataset;
        let count = (STRIP_ROWS as usize).min(data.count);
        let seed = key(self.config.seed);
        let column = |&[signal, noise]: &[f32; 2]| {
            let pixel = |i: usize| {
                let eps = normal4(philox([stream::PICTURE, 0, 0, i as u32 / 4], seed))[i % 4] as f32;
                signal * (f32::from(data.images[i]) / 127.5 - 1.0) + noise * eps
            };
            let pixels: Vec<f32> = (0..count * data.pixels()).map(pixel).collect();
            Images::from_f32(&pixels, [count, data.channels, data.height, data.width])
        };
        factors.iter().map(column).collect()
    }
}
