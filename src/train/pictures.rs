//! The pictures of a run: grids of samples while it goes on, and strips of the forward and the reverse process at its end.

use super::journal::Journal;
use super::programs::{AVERAGE, Job};
use crate::Result;
use crate::diffusion::{Generator, Request};
use crate::gpu::{Gpu, Memory};
use crate::nn::PARAMETERS;
use crate::report::{Images, Layout, grid, strip};
use crate::tape::philox::{normal4, philox};
use crate::tape::purpose;
use std::path::Path;

/// Rows of a grid of samples.
const ROWS: u32 = 4;
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
pub fn samples(gpu: &Gpu, memory: &mut Memory, job: &Job<'_>, journal: &mut Journal, n: u32) -> Result<()> {
    let columns = job.labels().map_or(10, |labels| labels.classes);
    for (slab, tag) in [(AVERAGE, "averaged"), (PARAMETERS, "raw")] {
        let generator = generator(gpu, memory, job, slab, ROWS * columns)?;
        let labels: Vec<u32> = (0..ROWS * columns).map(|k| k % columns).collect();
        let images = generator.draw(gpu, memory, 0, &labels, |_| ())?;
        let layout = Layout { columns: columns as usize, scale: SCALE, ..Layout::default() };
        let picture = grid::grid(&Images::from_f32(&images, shape(&generator)), layout);
        let text = format!("step {}, {tag} weights, guidance {}", n + 1, job.config.guidance);
        journal.picture(n, tag, &picture, &[("Description", &text), ("Software", "degrain")])?;
    }
    Ok(())
}

fn generator(gpu: &Gpu, memory: &mut Memory, job: &Job<'_>, slab: &str, batch: u32) -> Result<Generator> {
    let config = job.config;
    let (plan, _) = job.scheduler().plan(config.sampling_steps)?;
    let request = Request {
        batch,
        height_width: [job.dataset.height as u32, job.dataset.width as u32],
        guidance: if config.unconditional { 1.0 } else { config.guidance },
        labels: job.labels(),
        seed: config.seed,
    };
    Generator::new(gpu, memory, job.unet, slab, &plan, request, &format!("pictures {batch}"))
}

fn shape(generator: &Generator) -> [usize; 4] {
    generator.shape().as_array().map(|n: u32| n as usize)
}

/// Writes `forward.png`, images on their way to noise, and `reverse.png`, noise on its way to images.
///
/// # Errors
/// The device's and the disk's.
pub fn strips(gpu: &Gpu, memory: &mut Memory, job: &Job<'_>, folder: &Path) -> Result<()> {
    let layout = Layout { scale: SCALE, ..Layout::default() };
    let text = [("Software", "degrain")];
    strip::strip(&forward(job), layout).save_png(&folder.join("forward.png"), &text)?;

    let generator = generator(gpu, memory, job, AVERAGE, STRIPS)?;
    let labels: Vec<u32> = (0..STRIPS).map(|k| k % job.labels().map_or(1, |labels| labels.classes)).collect();
    generator.begin(gpu, memory, 0, &labels, None)?;
    let look =
        |index: u32| (index * (COLUMNS - 1)) / generator.steps() != ((index + 1) * (COLUMNS - 1)) / generator.steps();
    let mut columns = vec![Images::from_f32(&generator.images(gpu, memory)?, shape(&generator))];
    for index in 0..generator.steps() {
        generator.denoise(gpu, index, 0)?;
        if look(index) {
            columns.push(Images::from_f32(&generator.images(gpu, memory)?, shape(&generator)));
        }
    }
    strip::strip(&columns, layout).save_png(&folder.join("reverse.png"), &text)
}

/// The first images of the data set at equally spaced time steps, noised as Ho et al. 2020, eq. 4.
fn forward(job: &Job<'_>) -> Vec<Images<'static>> {
    let data = job.dataset;
    let (count, last) = (data.pixels() * STRIPS as usize, job.config.timesteps - 1);
    let table = job.schedule.noising_table();
    let seed = [job.config.seed as u32, (job.config.seed >> 32) as u32];
    let column = |column: u32| {
        let [signal, noise] = table[(last * column / (COLUMNS - 1)) as usize];
        let pixel = |i: usize| {
            let z = normal4(philox([purpose::PICTURE, 0, 0, i as u32 / 4], seed))[i % 4] as f32;
            signal * (f32::from(data.images[i]) / 127.5 - 1.0) + noise * z
        };
        let pixels: Vec<f32> = (0..count).map(pixel).collect();
        Images::from_f32(&pixels, [STRIPS as usize, data.channels, data.height, data.width])
    };
    (0..COLUMNS).map(column).collect()
}
