//! Draws samples from a checkpoint: a grid, an animation, or an archive for other tools.

use clap::Parser;
use degrain::diffusion::pipeline::{self, Pipeline};
use degrain::diffusion::{Generator, Request, SamplerName, SchedulerConfig, Spacing, Variance};
use degrain::files::print;
use degrain::gpu::{Gpu, Memory};
use degrain::report::{Images, Layout, apng, grid, npz};
use degrain::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
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

/// The checkpoint's scheduler with what the command line says.
fn scheduler(pipeline: &Pipeline, arguments: &Arguments) -> SchedulerConfig {
    let mut scheduler = pipeline.scheduler.clone();
    if scheduler.sampler != arguments.sampler {
        scheduler.options = Default::default();
    }
    scheduler.sampler = arguments.sampler;
    if arguments.sampler == SamplerName::Ddim {
        scheduler.options.use_clipped_model_output = Some(arguments.recompute_noise);
    }
    scheduler.spacing = arguments.spacing.unwrap_or(scheduler.spacing);
    scheduler.options.eta = arguments.eta.or(scheduler.options.eta);
    scheduler.options.variance_type = arguments.variance.or(scheduler.options.variance_type);
    scheduler
}

/// A label for each image.
fn labels(pipeline: &Pipeline, arguments: &Arguments) -> Result<Vec<u32>> {
    let names = &pipeline.card.class_names;
    if pipeline.unet.config().num_class_embeds.is_none() {
        return match &arguments.class {
            None => Ok(vec![0; arguments.count as usize]),
            Some(class) => Err(Error::Config(format!("--class {class}: the model was trained without classes"))),
        };
    }
    let count = names.len() as u32;
    match &arguments.class {
        None => Ok((0..arguments.count).map(|k| k % count).collect()),
        Some(wanted) => {
            let by_name = names.iter().position(|name| name == wanted).map(|class| class as u32);
            let class = by_name.or(wanted.parse().ok().filter(|&class| class < count));
            let unknown =
                || Error::Config(format!("--class {wanted}: there is no such class; there are: {}", names.join(", ")));
            Ok(vec![class.ok_or_else(unknown)?; arguments.count as usize])
        }
    }
}

fn guidance(pipeline: &Pipeline, wanted: Option<f32>) -> Result<f32> {
    let null_class = pipeline.card.labels.and_then(|labels| labels.null_class());
    let scale = wanted.unwrap_or(if null_class.is_some() { 2.0 } else { 1.0 });
    match pipeline.card.labels {
        Some(labels) => labels.guided(scale).map(|_| scale),
        None if scale == 1.0 => Ok(scale),
        None => Err(Error::Config(format!(
            "--guidance {scale}: the model was trained without classes, so there is nothing to guide by"
        ))),
    }
}

fn read_noise(path: &Path, wanted: [u32; 4]) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::file(path, format!("no safetensors file: {e}")))?;
    let wanted = wanted.map(|n| n as usize);
    let fits = |tensor: &safetensors::tensor::TensorView<'_>| {
        tensor.shape() == wanted && tensor.dtype() == safetensors::Dtype::F32
    };
    match file.tensors().as_slice() {
        [(name, tensor)] if fits(tensor) => {
            let noise: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            match noise.iter().all(|x| x.is_finite()) {
                true => Ok(noise),
                false => Err(Error::file(path, format!("`{name}` holds numbers that are not finite"))),
            }
        }
        [(name, tensor)] => Err(Error::file(
            path,
            format!(
                "`{name}` is {:?} {:?}, not {wanted:?} of F32 (--count and the model's size)",
                tensor.dtype(),
                tensor.shape()
            ),
        )),
        tensors => Err(Error::file(path, format!("holds {} tensors, not one", tensors.len()))),
    }
}

fn padded(values: &[f32], length: usize) -> Vec<f32> {
    let mut values = values.to_vec();
    values.resize(length, 0.0);
    values
}
