//! What a trained model does with given images and noises: ways between two samples, an image's noise, and images with a hole.

mod common;
mod inpaint;
mod interpolate;
mod invert;

use clap::{Parser, Subcommand};
use degrain::cli;
use std::process::ExitCode;

/// Works on images with a trained model
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Draw the samples between two noises: a row for each class or pair
    Interpolate(interpolate::Interpolate),
    /// Find the noise that images come from by DDIM, and draw them from it again
    Invert(invert::Invert),
    /// Fill the hole that a mask leaves in an image
    Inpaint(inpaint::Inpaint),
}

fn main() -> ExitCode {
    cli::main(|| match Arguments::parse().task {
        Task::Interpolate(task) => task.run(),
        Task::Invert(task) => task.run(),
        Task::Inpaint(task) => task.run(),
    })
}
