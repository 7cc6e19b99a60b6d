//! Trains a diffusion model on images that the program generates.
//!
//!     cargo run --release --example train_ddpm
//!
//! The images are disks and squares. After a minute on two CPU cores, `runs/shapes/samples` shows
//! samples of both. A second call continues the run if it was interrupted.

use degrain::Result;
use degrain::data::Dataset;
use degrain::gpu::Context;
use degrain::rng::{philox, uniform};
use degrain::train::{LogEntry, Outcome, Settings, Size, Trainer, on_interrupt};

const SIDE: u32 = 16;
const COUNT: u32 = 2048;

fn main() -> Result<()> {
    let ctx = Context::open(None)?;
    // All other settings come from the preset. `cargo run --bin train -- --help` lists all
    // settings.
    let settings = Settings {
        preset: Some("ddpm".into()),
        size: Some(Size::Tiny),
        out: Some("runs/shapes".into()),
        steps: Some(300),
        validation_count: Some(128),
        validate_every: Some(50),
        sample_every: Some(150),
        checkpoint_every: Some(100),
        ..Settings::default()
    };
    let mut trainer = Trainer::with_data(&ctx, settings, shapes())?.resume_or_start()?;
    print!("{}", trainer.describe());

    // The callback receives every log entry. Ctrl-C saves a checkpoint and ends the run.
    let mut best = f64::INFINITY;
    let outcome = trainer.run_with(&*on_interrupt()?, &mut |entry| {
        if let LogEntry::Validation { validation_loss, .. } = entry {
            best = best.min(*validation_loss);
        }
    })?;
    match outcome {
        Outcome::Finished => println!("best validation loss {best:.4}; samples are in runs/shapes/samples"),
        Outcome::Stopped(step) => println!("stopped after step {step}"),
    }
    Ok(())
}

/// Disks (class 0) and squares (class 1) of random size and position.
fn shapes() -> Dataset {
    let mut images = Vec::new();
    for index in 0..COUNT {
        let [radius, x, y, _] = philox([index, 0, 0, 0], [0, 0]).map(uniform);
        let radius = 2.0 + 3.0 * radius;
        let center = |part: f64| radius + part * (f64::from(SIDE) - 2.0 * radius);
        for pixel in 0..SIDE * SIDE {
            let dx = f64::from(pixel % SIDE) + 0.5 - center(x);
            let dy = f64::from(pixel / SIDE) + 0.5 - center(y);
            let inside = if index % 2 == 0 { dx.hypot(dy) < radius } else { dx.abs().max(dy.abs()) < radius };
            images.push(if inside { 255 } else { 0 });
        }
    }
    let mut data = Dataset::from_arrays("shapes", images, (0..COUNT).map(|index| index % 2).collect(), [1, SIDE, SIDE]);
    data.class_names = vec!["disk".into(), "square".into()];
    data
}
