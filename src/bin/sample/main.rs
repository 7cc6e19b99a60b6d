//! Draws samples from a checkpoint: a grid, an animation, or an archive for other tools.

mod request;

use clap::Parser;
use degrain::diffusion::pipeline::{self, Pipeline};
use degrain::diffusion::{Generator, Request, SamplerName, Spacing, Variance};
use degrain::files::print;
use degrain::gpu::{Gpu, Memory};
use degrain::report::{Images, Layout, apng, grid, npz};
use degrain::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use request::{guidance, labels, padded, read_noise, scheduler};
use std::path::{Path, PathBuf};

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
    /// Scale of classifier-free guidance; 1 is none. 2 unless given, where the model has a null class
    #[arg(long)]
    guidance: Option<f32>,
    /// How noise becomes an image
    #[arg(long, value_enum, default_value = "ddim")]
    sampler: SamplerName,
    /// Denoising steps
    #[arg(long, default_value_t = 50)]
    steps: u32,
    /// DDIM's share of noise: 0 none, 1 as much as DDPM
    #[arg(long)]
    eta: Option<f64>,
    /// DDIM: compute the noise anew from the clipped image (use_clipped_model_output in diffusers, whose default is false)
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    recompute_noise: bool,
    /// Spacing of the time steps; the checkpoint's unless given
    #[arg(long, value_enum)]
    spacing: Option<Spacing>,
    /// Variance of DDPM's steps; the checkpoint's unless given
    #[arg(long, value_enum)]
    variance: Option<Variance>,
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

/// Frames of an animation, besides the last.
const FRAMES: u32 = 40;

fn main() {
    if let Err(error) = draw(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// What to write, by the ending of the file's name.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    Grid,
    Animation,
    Archive,
}

impl Output {
    fn of(path: &Path) -> Result<Output> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("png") => Ok(Output::Grid),
            Some("apng") => Ok(Output::Animation),
            Some("npz") => Ok(Output::Archive),
            _ => Err(Error::Config(format!("--out {}: the name must end in .png, .apng or .npz", path.display()))),
        }
    }
}

fn draw(arguments: &Arguments) -> Result<()> {
    let output = Output::of(&arguments.out)?;
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    if arguments.count == 0 || arguments.batch == 0 {
        return Err(Error::Config("--count and --batch must be at least 1".into()));
    }
    let folder = pipeline::locate(&arguments.checkpoint)?;
    let pipeline = Pipeline::read(&folder)?;
    pipeline.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let labels = labels(&pipeline, arguments)?;
    let guidance = guidance(&pipeline, arguments.guidance)?;

    let gpu = Gpu::open(arguments.adapter.as_deref())?;
    let config = pipeline.unet.config();
    let size = match (arguments.image_size, config.sample_size) {
        (Some(side), _) => [side; 2],
        (None, Some(size)) => size.height_width(),
        (None, None) => {
            return Err(Error::Config(
                "the checkpoint does not say how large its images are: give --image-size".into(),
            ));
        }
    };
    config.check_size(size[0], size[1])?;
    let scheduler = scheduler(&pipeline, arguments);
    let (plan, warnings) = scheduler.plan(arguments.steps)?;
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));

    let batch = arguments.batch.min(arguments.count);
    let request = Request { batch, height_width: size, guidance, labels: pipeline.card.labels, seed: arguments.seed };
    let mut memory = Memory::new();
    let weights = "weights";
    memory.require(&gpu, weights, pipeline.unet.parameters().bytes())?;
    memory.write(&gpu, weights, 0, &pipeline.weights)?;
    let generator = Generator::new(&gpu, &mut memory, &pipeline.unet, weights, &plan, request, "sample")?;
    let [_, channels, height, width]: [u32; 4] = generator.shape().as_array();
    let each = (channels * height * width) as usize;
    let noise = arguments
        .noise
        .as_deref()
        .map(|path| read_noise(path, [arguments.count, channels, height, width]))
        .transpose()?;

    eprintln!("{}: {} on {}", folder.display(), describe(arguments, guidance), gpu.adapter());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} image-steps  {per_sec}  {eta_precise} left");
    let bar = ProgressBar::new(u64::from(arguments.count) * u64::from(generator.steps()));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut images: Vec<f32> = Vec::with_capacity(arguments.count as usize * each);
    let frame_every = generator.steps().div_ceil(FRAMES);
    let mut frames: Vec<Vec<f32>> = vec![Vec::new(); (generator.steps().div_ceil(frame_every) + 1) as usize];
    for first in (0..arguments.count).step_by(batch as usize) {
        let count = batch.min(arguments.count - first);
        let chosen = &labels[first as usize..(first + count) as usize];
        let start = noise
            .as_ref()
            .map(|noise| padded(&noise[first as usize * each..][..count as usize * each], batch as usize * each));
        generator.begin(&gpu, &memory, first, chosen, start.as_deref())?;
        let mut keep = |frame: u32, memory: &Memory| -> Result<()> {
            if output == Output::Animation {
                frames[frame as usize].extend(&generator.images(&gpu, memory)?[..count as usize * each]);
            }
            Ok(())
        };
        keep(0, &memory)?;
        for index in 0..generator.steps() {
            generator.denoise(&gpu, index, first)?;
            bar.inc(u64::from(count));
            if (index + 1) % frame_every == 0 || index + 1 == generator.steps() {
                keep((index + 1u32).div_ceil(frame_every), &memory)?;
            }
        }
        images.extend(&generator.images(&gpu, &memory)?[..count as usize * each]);
    }
    bar.finish_and_clear();
    if images.iter().any(|x| !x.is_finite()) {
        return Err(Error::NonFinite("the samples hold numbers that are not finite: the checkpoint may be damaged, or was trained in a way that diverged".into()));
    }
    write(arguments, output, &pipeline, &images, &frames, [channels, height, width], &labels, guidance)?;
    print(format!("{}\n", arguments.out.display()))
}

#[allow(clippy::too_many_arguments)] // all that a sample is made of goes into its file
fn write(
    arguments: &Arguments,
    output: Output,
    pipeline: &Pipeline,
    images: &[f32],
    frames: &[Vec<f32>],
    [channels, height, width]: [u32; 3],
    labels: &[u32],
    guidance: f32,
) -> Result<()> {
    let shape = [arguments.count, channels, height, width].map(|n| n as usize);
    let classes = pipeline.card.class_names.len().clamp(1, 10);
    let columns = if arguments.class.is_none() && classes > 1 {
        classes
    } else {
        (arguments.count as f64).sqrt().ceil() as usize
    };
    let layout = Layout { columns, scale: if height < 64 { 2 } else { 1 }, ..Layout::default() };
    let (description, source) = (describe(arguments, guidance), arguments.checkpoint.display().to_string());
    let text = [
        ("Software", concat!("degrain ", env!("CARGO_PKG_VERSION"))),
        ("Description", &description),
        ("Source", &source),
    ];
    let images = Images::from_f32(images, shape);
    match output {
        Output::Grid => grid::grid(&images, layout).save_png(&arguments.out, &text),
        Output::Archive => npz::save_npz(&arguments.out, &images, (!labels.is_empty()).then_some(labels)),
        Output::Animation => {
            let pictures: Vec<_> =
                frames.iter().map(|frame| grid::grid(&Images::from_f32(frame, shape), layout)).collect();
            apng::save_apng(&arguments.out, &pictures, 60, 2000, &text)
        }
    }
}

fn describe(arguments: &Arguments, guidance: f32) -> String {
    let class = arguments.class.as_ref().map_or("all classes in turn".into(), |class| format!("class {class}"));
    format!(
        "{} images, {class}, guidance {guidance}, {} steps of {}, seed {}",
        arguments.count,
        arguments.steps,
        arguments.sampler.class().trim_end_matches("Scheduler"),
        arguments.seed
    )
}
