//! Edits images with a trained model: interpolation, inversion, and inpainting.

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
    /// Sample from noises between two noises, one row per pair
    Interpolate(interpolate::Interpolate),
    /// Find the noise of images by inverting DDIM, and sample from this noise again
    Invert(invert::Invert),
    /// Sample the masked part of an image
    Inpaint(inpaint::Inpaint),
}

fn main() -> ExitCode {
    cli::main(|| match Arguments::parse().task {
        Task::Interpolate(task) => task.run(),
        Task::Invert(task) => task.run(),
        Task::Inpaint(task) => task.run(),
    })
}
