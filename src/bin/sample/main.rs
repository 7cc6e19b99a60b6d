//! Samples images from a checkpoint: a grid, an animation, or an archive for other tools.

mod output;

use clap::Parser;
use degrain::checkpoint::{AnyModel, Checkpoint, noise};
use degrain::diffusion::autoencoder::Decoder;
use degrain::diffusion::{
    BatchSpec, ClassifierGuide, Generator, Guidance, SampleSet, SampledImages, Sampling, SamplingOptions,
};
use degrain::files::{check_writable, print};
use degrain::gpu::Context;
use degrain::nn::Vae;
use degrain::{Error, Result, cli};
use output::{Output, Samples};
use std::path::PathBuf;
use std::process::ExitCode;

/// Number of intermediate states in an animation.
const FRAMES: u32 = 40;

/// Samples images from a trained model: a run of `train`, or any diffusers folder of a UNet2DModel
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Run folder, checkpoint folder, or diffusers folder
    #[arg(long)]
    checkpoint: PathBuf,
    /// Number of samples
    #[arg(long, default_value_t = 40)]
    count: u32,
    /// Class: a number or a name [default: all classes in turn]
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    options: SamplingOptions,
    /// Classifier for classifier guidance: a run of `train --preset classifier`
    #[arg(long, value_name = "RUN")]
    classifier: Option<PathBuf>,
    /// Scale of classifier guidance
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, requires = "classifier")]
    classifier_scale: f64,
    /// Random seed; sample k of a seed does not depend on the batch size
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Initial noise: a safetensors file with one F32 tensor [count, channels, height, width]
    #[arg(long)]
    noise: Option<PathBuf>,
    /// Batch size
    #[arg(long, default_value_t = 64)]
    batch: u32,
    /// Height and width of the images [default: the checkpoint's]
    #[arg(long)]
    image_size: Option<u32>,
    /// Output file: .png (grid), .apng (the denoising of a grid), or .npz (arr_0: u8 N x H x W x C)
    #[arg(long, default_value = "samples.png")]
    out: PathBuf,
    /// GPU adapter: its number, or a part of its name [default: the fastest]
    #[arg(long)]
    adapter: Option<String>,
}

fn main() -> ExitCode {
    cli::main(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let output = Output::from_path(&arguments.out)?;
    if arguments.count == 0 || arguments.batch == 0 {
        return Err(Error::Config("--count and --batch must be at least 1".into()));
    }
    if !arguments.classifier_scale.is_finite() {
        let scale = arguments.classifier_scale;
        return Err(Error::Config(format!("--classifier-scale {scale} must be finite, usually 1 to 10")));
    }
    check_writable(&arguments.out)?;
    let checkpoint = Checkpoint::open(&arguments.checkpoint)?;
    checkpoint.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let samples = match &checkpoint.model {
        AnyModel::Vae(vae) => decode(arguments, output, &checkpoint, vae)?,
        AnyModel::Denoiser(_) | AnyModel::Classifier(_) => sample(arguments, output, &checkpoint)?,
    };
    if samples.images.iter().any(|x| !x.is_finite()) {
        return Err(Error::NonFinite(
            "the samples contain numbers that are not finite: the checkpoint may be damaged, or its training diverged"
                .into(),
        ));
    }
    output::write(arguments, output, &samples)?;
    print(format!("{}\n", arguments.out.display()))
}

fn sample(arguments: &Arguments, output: Output, checkpoint: &Checkpoint) -> Result<Samples> {
    let denoiser = checkpoint.denoiser("weights")?;
    let class = checkpoint.class(arguments.class.as_deref(), arguments.classifier.is_some())?;
    let image = checkpoint.image_shape(arguments.image_size)?;
    check_memory(arguments.count, image, if output == Output::Animation { FRAMES } else { 0 })?;
    let labels = checkpoint.labels(class, arguments.count);
    let sampling = checkpoint.sampling(arguments.options)?;
    let (plan, warnings) = sampling.plan(denoiser.process)?;
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let guide = arguments.classifier.as_deref().map(|run| checkpoint.open_guide(run, image)).transpose()?;
    let [channels, height, width] = image;
    let shape = [arguments.count, channels, height, width];
    let noise = arguments.noise.as_deref().map(|path| noise::read(path, shape)).transpose()?;

    let mut ctx = Context::open(arguments.adapter.as_deref())?;
    checkpoint.load(&mut ctx, "weights")?;
    let mut guidance = Guidance { scale: sampling.guidance, rescale: sampling.guidance_rescale, classifier: None };
    if let Some(guide) = &guide {
        guide.load(&mut ctx, "classifier")?;
        let network = guide.classifier()?;
        guidance.classifier =
            Some(ClassifierGuide { network, weights: "classifier", scale: arguments.classifier_scale });
    }
    let size = arguments.batch.min(arguments.count);
    let batch = BatchSpec { name: "sample", size, image, seed: arguments.seed };
    let generator = Generator::new(&mut ctx, denoiser, guidance, plan, batch)?;
    let description = describe(arguments, &sampling);
    eprintln!("{}: {description} on {}", checkpoint.folder.display(), ctx.gpu.adapter());
    let frames = if output == Output::Animation { FRAMES } else { 0 };
    let set = SampleSet { labels: &labels, noise: noise.as_deref(), frames };
    let progress = cli::Progress::new();
    let SampledImages { images, frames } = generator.sample_set(&ctx, set, &mut |done| progress.set(done))?;
    let conditional = denoiser.network.classes().is_some() || guide.is_some();
    let classes = checkpoint.metadata.class_names.len();
    Ok(Samples { images, frames, labels: conditional.then_some(labels), image, classes, description })
}

/// Decodes latents of the prior.
fn decode(arguments: &Arguments, output: Output, checkpoint: &Checkpoint, vae: &Vae) -> Result<Samples> {
    let options = SamplingOptions { guidance: None, ..arguments.options };
    let unused = [
        ("class", arguments.class.is_some()),
        ("guidance", arguments.options.guidance.is_some_and(|scale| scale != 1.0)),
        ("classifier", arguments.classifier.is_some()),
        ("sampler", options.sampler.is_some()),
        ("steps", options.steps.is_some()),
        ("noise", arguments.noise.is_some()),
        ("out *.apng", output == Output::Animation),
    ];
    if let Some((option, _)) = unused.iter().find(|(_, given)| *given) {
        return Err(Error::Config(format!(
            "--{option}: an autoencoder decodes images directly from latents, without classes, samplers or steps"
        )));
    }
    check_memory(arguments.count, vae.image_shape(), 0)?;
    let mut ctx = Context::open(arguments.adapter.as_deref())?;
    checkpoint.load(&mut ctx, "weights")?;
    let decoder = Decoder::new(&mut ctx, vae, "weights", arguments.batch.min(arguments.count), "sample")?;
    let images = decoder.draw(&ctx, arguments.seed, 0..arguments.count)?;
    let description = format!("{} images of latents from the prior, seed {}", arguments.count, arguments.seed);
    Ok(Samples { images, frames: vec![], labels: None, image: vae.image_shape(), classes: 0, description })
}

/// Refuses more images, with `frames` intermediate states, than the memory can hold.
fn check_memory(count: u32, image: [u32; 3], frames: u32) -> Result<()> {
    // f32 images and states, and the bytes of the output.
    let bytes =
        image.iter().map(|&n| u128::from(n)).product::<u128>() * u128::from(count) * (4 * (1 + u128::from(frames)) + 1);
    let reservable = usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if reservable && available_memory().is_none_or(|available| bytes <= u128::from(available)) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "--count {count}: the images need {:.1} GB of memory, more than this system has. Sample fewer at once, each part \
         with another --seed",
        bytes as f64 * 1e-9
    )))
}

/// Bytes of memory that are available, if the system reports them as Linux does.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn describe(arguments: &Arguments, sampling: &Sampling) -> String {
    let class = arguments.class.as_ref().map_or("all classes in turn".into(), |class| format!("class {class}"));
    let classifier = arguments
        .classifier
        .as_ref()
        .map_or(String::new(), |_| format!(", guided by a classifier with scale {}", arguments.classifier_scale));
    let (guidance, steps) = (sampling.guidance, sampling.describe());
    format!("{} images, {class}, guidance {guidance}{classifier}, {steps}, seed {}", arguments.count, arguments.seed)
}
