//! Draws samples from a checkpoint: a grid, an animation, or an archive for other tools.

mod draw;
mod output;
mod request;

use clap::Parser;
use degrain::diffusion::SamplingOptions;
use degrain::files::print;
use degrain::{Error, Result, cli};
use std::path::PathBuf;
use std::process::ExitCode;

/// Draws samples from a trained model: a run of `train`, or any diffusers folder of a UNet2DModel
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Run folder, checkpoint folder, or diffusers folder
    #[arg(long)]
    checkpoint: PathBuf,
    /// Images to draw
    #[arg(long, default_value_t = 40)]
    count: u32,
    /// Class to draw, by number or name; all in turn unless given
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    options: SamplingOptions,
    /// How far guided answers are brought back to the deviation of unguided ones: 0 to 1
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    guidance_rescale: f32,
    /// Guide by the gradient of this classifier too: a run of `train --preset classifier`
    #[arg(long, value_name = "RUN")]
    classifier: Option<PathBuf>,
    /// How strongly the classifier guides
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, requires = "classifier")]
    classifier_scale: f64,
    /// Seed: image k of a seed is the same in any batch
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Start from this noise: a safetensors file with one tensor [count, channels, height, width] of F32
    #[arg(long)]
    noise: Option<PathBuf>,
    /// Images drawn at once
    #[arg(long, default_value_t = 64)]
    batch: u32,
    /// Height and width of the images; the checkpoint's unless given
    #[arg(long)]
    image_size: Option<u32>,
    /// What to write: .png (grid), .apng (the denoising of a grid), or .npz (arr_0: u8 N x H x W x C)
    #[arg(long, default_value = "samples.png")]
    out: PathBuf,
    /// Adapter, by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
}

fn main() -> ExitCode {
    cli::main(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let output = output::Output::of(&arguments.out)?;
    if arguments.count == 0 || arguments.batch == 0 {
        return Err(Error::Config("--count and --batch must be at least 1".into()));
    }
    let drawn = draw::draw(arguments, output)?;
    if drawn.images.iter().any(|x| !x.is_finite()) {
        return Err(Error::NonFinite("the samples hold numbers that are not finite: the checkpoint may be damaged, or was trained in a way that diverged".into()));
    }
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    output::write(arguments, output, &drawn)?;
    print(format!("{}\n", arguments.out.display()))
}
