//! Samples images from a checkpoint and saves a grid of them.
//!
//!     cargo run --release --example sample -- runs/ddpm-tiny samples.png
//!
//! The checkpoint is a run folder of `train`, or a diffusers folder of a UNet2DModel.

use degrain::checkpoint::Checkpoint;
use degrain::diffusion::{BatchSpec, Generator, SampleSet, SamplingOptions};
use degrain::gpu::Context;
use degrain::output::{Images, Layout, grid};
use degrain::{Error, Result};
use std::path::Path;

const COUNT: u32 = 40;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = &arguments[..] else {
        return Err(Error::Config("usage: sample CHECKPOINT OUT.png".into()));
    };
    let checkpoint = Checkpoint::open(Path::new(folder))?;
    let denoiser = checkpoint.denoiser("weights")?;
    let image = checkpoint.image_shape(None)?;

    // The sampler of the run, with 25 steps. A plan is a list of coefficients for each step.
    let sampling = checkpoint.sampling(SamplingOptions { steps: Some(25), ..SamplingOptions::default() })?;
    let (plan, _) = sampling.plan(denoiser.process)?;
    let guidance = sampling.guidance();

    let mut ctx = Context::open(None)?;
    checkpoint.load(&mut ctx, "weights")?;
    let batch = BatchSpec { name: "sample", size: COUNT, image, seed: 0 };
    let generator = Generator::new(&mut ctx, denoiser, guidance, plan, batch)?;
    let labels = checkpoint.labels(None, COUNT); // all classes in turn
    let set = SampleSet { labels: &labels, first: 0, noise: None, frames: 0 };
    let samples = generator.sample_set(&ctx, set, &mut |done| {
        eprint!("\r{:3.0} %", 100.0 * done);
        Ok(())
    })?;
    eprintln!();

    let [channels, height, width] = image.map(|n| n as usize);
    let images = Images::from_f32(&samples.images, [COUNT as usize, channels, height, width]);
    let columns = checkpoint.metadata.class_names.len().clamp(8, 10);
    grid::grid(&images, Layout { columns, scale: 2, ..Layout::default() }).save_png(Path::new(out), &[])
}
