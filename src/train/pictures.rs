//! The pictures of a run: grids of samples while it goes on, and strips of the forward and the reverse process at its end.

use super::objective::Drawing;
use super::programs::{EMA, Job};
use super::run_log::RunLog;
use crate::Result;
use crate::gpu::Context;
use crate::nn::PARAMETERS;
use crate::output::{Images, Layout, grid, strip};
use crate::rng::{normal4, philox};
use crate::tape::stream;
use std::path::Path;

/// Rows of a grid of samples.
const ROWS: u32 = 4;
/// Most columns of a grid.
const MOST: usize = 10;
/// Columns of a strip.
const COLUMNS: u32 = 11;
/// Images of a strip.
const STRIPS: u32 = 4;
/// How much pictures are enlarged.
const SCALE: usize = 2;

/// Draws a grid with the averaged weights and one with the raw ones, from the same noise each time: a column for each class.
///
/// # Errors
/// The device's and the disk's.
pub fn samples(ctx: &mut Context, job: &Job<'_>, run_log: &mut RunLog, n: u32) -> Result<()> {
    let classes = job.dataset.class_names.len();
    let columns = if classes > 1 { classes.min(MOST) } else { MOST } as u32;
    let labels: Vec<u32> = (0..ROWS * columns).map(|k| k % classes.max(1) as u32 % columns).collect();
    for (slab, tag) in [(EMA, "averaged"), (PARAMETERS, "raw")] {
        let drawing = Drawing { slab, labels: &labels, first: 0, name: "pictures.grid", looks: 0 };
        let Some(images) = job.objective.draw(ctx, job.config, &drawing)?.and_then(|mut all| all.pop()) else {
            return Ok(());
        };
        let layout = Layout { columns: columns as usize, scale: SCALE, ..Layout::default() };
        let text = format!("step {}, {tag} weights, guidance {}", n + 1, job.config.guidance);
        run_log.picture(n, tag, &grid::grid(&images, layout), &[("Description", &text), ("Software", "degrain")])?;
    }
    Ok(())
}

/// Writes `forward.png`, images on their way to noise, and `reverse.png`, noise on its way to images, for a model that has such ways.
///
/// # Errors
/// The device's and the disk's.
pub fn strips(ctx: &mut Context, job: &Job<'_>, folder: &Path) -> Result<()> {
    let layout = Layout { scale: SCALE, ..Layout::default() };
    let text = [("Software", "degrain")];
    let forward = forward(job);
    if !forward.is_empty() {
        strip::strip(&forward, layout).save_png(&folder.join("forward.png"), &text)?;
    }
    let labels: Vec<u32> = (0..STRIPS).map(|k| k % job.dataset.class_names.len().max(1) as u32).collect();
    let drawing = Drawing { slab: EMA, labels: &labels, first: 0, name: "pictures.strip", looks: COLUMNS - 1 };
    match job.objective.draw(ctx, job.config, &drawing)? {
        Some(columns) if columns.len() > 1 => {
            strip::strip(&columns, layout).save_png(&folder.join("reverse.png"), &text)
        }
        _ => Ok(()),
    }
}

/// The first images of the data set at equally spaced training times, noised as the process does it.
fn forward(job: &Job<'_>) -> Vec<Images<'static>> {
    let data = job.dataset;
    let images = (STRIPS as usize).min(data.count);
    let count = data.pixels() * images;
    let seed = [job.config.seed as u32, (job.config.seed >> 32) as u32];
    let column = |[signal, noise]: [f32; 2]| {
        let pixel = |i: usize| {
            let z = normal4(philox([stream::PICTURE, 0, 0, i as u32 / 4], seed))[i % 4] as f32;
            signal * (f32::from(data.images[i]) / 127.5 - 1.0) + noise * z
        };
        let pixels: Vec<f32> = (0..count).map(pixel).collect();
        Images::from_f32(&pixels, [images, data.channels, data.height, data.width])
    };
    job.objective.forward_process(COLUMNS).into_iter().map(column).collect()
}
