//! Edits images with a trained model: denoising, interpolation, inversion, and inpainting.

mod denoise;
mod images;
mod inpaint;
mod interpolate;
mod invert;
mod model;

use clap::{Parser, Subcommand};
use degrain::cli;
use std::process::ExitCode;

/// Edits images with a trained model
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Noise images, and denoise them again (SDEdit): shows whether training works
    Denoise(denoise::Denoise),
    /// Sample from noises between two noises, one row per pair
    Interpolate(interpolate::Interpolate),
    /// Find the noise of images by inverting DDIM, and sample from this noise again
    Invert(invert::Invert),
    /// Sample the masked part of an image
    Inpaint(inpaint::Inpaint),
}

fn main() -> ExitCode {
    cli::main(|| match cli::parse::<Arguments>(std::env::args_os()).task {
        Task::Denoise(task) => task.run(),
        Task::Interpolate(task) => task.run(),
        Task::Invert(task) => task.run(),
        Task::Inpaint(task) => task.run(),
    })
}
