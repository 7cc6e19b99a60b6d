//! Samples images from a checkpoint: a grid, an animation, or an archive for other tools.

mod drawing;
mod header;
mod output;
mod store;

use clap::Parser;
use degrain::checkpoint::{AnyModel, Checkpoint, CheckpointMetadata, noise};
use degrain::cli::{DeviceOptions, ModelOptions};
use degrain::data::proportional_labels;
use degrain::diffusion::autoencoder::Decoder;
use degrain::diffusion::latent_prior::LatentPrior;
use degrain::diffusion::{
    BatchSpec, ClassifierGuide, FrameTimes, Generator, SampleSet, SampledImages, Sampling, SamplingOptions,
};
use degrain::files::{PartFile, check_writable, print};
use degrain::gpu::Context;
use degrain::nn::Vae;
use degrain::output::{counted, note};
use degrain::ranks::{Communicator, Single};
use degrain::{Error, Result, cli};
use drawing::{Draw, Drawing};
use header::PartHeader;
use output::{Description, Output, check_memory};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Default number of samples.
const COUNT: u32 = 40;
/// Number of intermediate states in an animation.
const FRAMES: u32 = 40;

/// Samples images from a trained model: a run of `train`, or any diffusers folder of a UNet2DModel
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Number of samples [default: 40, or the number in the file of --noise]
    #[arg(long)]
    count: Option<u32>,
    /// Class: a name, or its number if no name is a number [default: all classes in turn]
    #[arg(long, allow_negative_numbers = true)]
    class: Option<String>,
    /// Draw the classes in their shares of the training images: samples without labels of a model
    /// with classes
    #[arg(long, conflicts_with = "class")]
    class_shares: bool,
    #[command(flatten)]
    options: SamplingOptions,
    /// Classifier for classifier guidance: a run of `train --preset classifier`
    #[arg(long, value_name = "RUN")]
    classifier: Option<PathBuf>,
    /// Scale of classifier guidance
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, requires = "classifier")]
    classifier_scale: f64,
    /// Draw an autoencoder's latents from N(0, 1), not from the mixture in its checkpoint
    #[arg(long)]
    normal_latents: bool,
    /// Random seed; sample k of a seed does not depend on the batch size [default: 0]
    #[arg(long)]
    seed: Option<u64>,
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
    #[command(flatten)]
    device: DeviceOptions,
}

impl Arguments {
    fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

fn main() -> ExitCode {
    let arguments = cli::parse(std::env::args_os());
    cli::main_on_ranks(|ranks| run(&arguments, &ranks))
}

/// Runs the program with this command line. The campaign of failing devices calls it.
pub fn run_with(command_line: impl IntoIterator<Item = OsString>) -> Result<()> {
    let ranks: Rc<dyn Communicator> = Rc::new(Single);
    run(&cli::parse(command_line), &ranks)
}

fn run(arguments: &Arguments, ranks: &Rc<dyn Communicator>) -> Result<()> {
    let output = Output::from_path(&arguments.out)?;
    if arguments.count == Some(0) || arguments.batch == 0 {
        return Err(Error::Config("--count and --batch must be at least 1".into()));
    }
    if !arguments.classifier_scale.is_finite() {
        let scale = arguments.classifier_scale;
        return Err(Error::Config(format!("--classifier-scale {scale} must be finite, usually 1 to 10")));
    }
    if ranks.is_first() {
        check_writable(&arguments.out)?;
    }
    let checkpoint = arguments.model.open()?;
    match &checkpoint.model {
        AnyModel::Vae(vae) => decode(arguments, output, &checkpoint, vae, ranks),
        AnyModel::Denoiser(_) | AnyModel::Classifier(_) => sample(arguments, output, &checkpoint, ranks),
    }
}

fn sample(arguments: &Arguments, output: Output, checkpoint: &Checkpoint, ranks: &Rc<dyn Communicator>) -> Result<()> {
    if arguments.normal_latents {
        let problem = "--normal-latents has no effect: only an autoencoder has latents. Leave the option out";
        return Err(Error::Config(problem.into()));
    }
    let denoiser = checkpoint.denoiser("weights")?;
    let image = checkpoint.image_shape(arguments.image_size)?;
    if let Some([_, height, width]) = denoiser.network.image_shape().filter(|&shape| shape != image) {
        note(format_args!(
            "warning: --image-size {}: the model was trained on images of {height}x{width}. Samples of another size are \
             images of another distribution: do not evaluate them against the model's data",
            image[1]
        ));
    }
    let guide = arguments.classifier.as_deref().map(|run| checkpoint.open_guide(run, image)).transpose()?;
    guide.iter().flat_map(|guide| &guide.warnings).for_each(|warning| note(format_args!("warning: {warning}")));
    let class = checkpoint.class(arguments.class.as_deref(), guide.as_ref())?;
    let sampling = checkpoint.sampling(arguments.options)?;
    checkpoint.check_effect(&arguments.options, &sampling)?;
    if arguments.classifier.is_none() {
        sampling.check_class(arguments.class.as_deref())?;
        if arguments.class_shares && sampling.guidance == 0.0 {
            let problem = "--class-shares has no effect: --guidance 0 samples without labels. Leave one of the two out";
            return Err(Error::Config(problem.into()));
        }
    }
    let (plan, warnings) = sampling.plan(denoiser.process)?;
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    if arguments.seed.is_some() && arguments.noise.is_some() && !plan.adds_noise() {
        let problem = "--seed has no effect: the noise comes from --noise, and this sampler adds none";
        return Err(Error::Config(problem.into()));
    }
    let noise = arguments.noise.as_deref().map(|path| noise::read(path, image, arguments.count)).transpose()?;
    let pixels = image.iter().map(|&n| n as usize).product();
    let count = match &noise {
        Some(noise) => (noise.len() / pixels) as u32,
        None => arguments.count.unwrap_or(COUNT),
    };
    let frames = if output == Output::Animation { FRAMES } else { 0 };
    let states = kept_states(frames, plan.fixed().map(|plan| plan.stages.len()));
    let batch = arguments.batch.min(count);
    let drawing = Drawing { count, batch, pixels, states, whole_batches: sampling.adaptive() };
    check_memory(&drawing, output, image)?;

    let mut ctx = arguments.device.open_shared(ranks.clone())?;
    checkpoint.load(&mut ctx, "weights")?;
    let mut guidance = sampling.guidance();
    if let Some(guide) = &guide {
        guide.load(&mut ctx, "classifier")?;
        let network = guide.classifier()?;
        guidance.classifier =
            Some(ClassifierGuide { network, weights: "classifier", scale: arguments.classifier_scale });
    }
    let batch = BatchSpec { name: "sample", size: batch, image, seed: arguments.seed() };
    let generator = Generator::new(&mut ctx, denoiser, guidance, plan, batch)?;
    let conditional = denoiser.network.classes().is_some() || guide.is_some();
    let labeled = conditional && (sampling.guidance != 0.0 || guide.is_some());
    let named = checkpoint.with_classes(guide.as_ref());
    let of_class = match (&arguments.class, class) {
        (Some(wanted), Some(class)) => named.describe_class(wanted, class),
        _ if !conditional => "without classes".into(),
        _ if !labeled => "without labels".into(),
        _ if arguments.class_shares => "classes in the shares of the training images".into(),
        _ => "all classes in turn".into(),
    };
    let text = describe(arguments, count, &of_class, &sampling);
    note(format_args!("{}: {text} on {}", checkpoint.folder.display(), ctx.gpu.adapter()));

    let classes = named.class_names.len();
    let shares = if arguments.class_shares { class_shares(named, count)? } else { vec![] };
    let label = |k: u32| class.or(shares.get(k as usize).copied()).unwrap_or(k % classes.max(1) as u32);
    let mut draw = |images: std::ops::Range<u32>, observer: &mut degrain::diffusion::Observer<'_>| {
        let labels: Vec<u32> = images.clone().map(label).collect();
        let noise = noise.as_deref().map(|noise| &noise[images.start as usize * pixels..images.end as usize * pixels]);
        generator.sample_set(&ctx, SampleSet { labels: &labels, first: images.start, noise, frames }, observer)
    };
    let mut header = header(arguments, &drawing, checkpoint, &ctx);
    header.set("--class", class);
    header.set("--class-shares", arguments.class_shares);
    header.set_kernels(&generator.forms());
    header.set("image", image.to_vec());
    header.set_sampling(&sampling);
    header.set_model("--classifier", guide.as_ref());
    header.set("--classifier-scale", guide.as_ref().map(|_| arguments.classifier_scale));
    header.set_values("--noise", noise.as_deref());
    let in_turn = labeled && class.is_none() && !arguments.class_shares;
    let columns = if in_turn { classes } else { 0 };
    let description = Description { image, label: labeled.then_some(&label), classes: columns, text };
    finish(arguments, Work { drawing: &drawing, header: &header, ranks: &**ranks }, &mut draw, &description)
}

/// Labels in the shares of the training images.
fn class_shares(metadata: &CheckpointMetadata, count: u32) -> Result<Vec<u32>> {
    if metadata.class_counts.len() != metadata.class_names.len() || metadata.class_counts.is_empty() {
        return Err(Error::Config(
            "--class-shares: the checkpoint does not say how many training images each class has (it has no classes, or an \
             earlier version of degrain or another program wrote it). Leave the option out to sample all classes in turn"
                .into(),
        ));
    }
    Ok(proportional_labels(&metadata.class_counts, count))
}

/// Decodes latents of the prior.
fn decode(
    arguments: &Arguments,
    output: Output,
    checkpoint: &Checkpoint,
    vae: &Vae,
    ranks: &Rc<dyn Communicator>,
) -> Result<()> {
    // Switching off what is off already is allowed.
    let options =
        SamplingOptions { guidance: arguments.options.guidance.filter(|&scale| scale != 1.0), ..arguments.options };
    let unused = [
        ("--class", arguments.class.is_some()),
        ("--class-shares", arguments.class_shares),
        ("--classifier", arguments.classifier.is_some()),
        ("--noise", arguments.noise.is_some()),
        ("--image-size", arguments.image_size.is_some()),
        ("--out *.apng", output == Output::Animation),
    ];
    let unused = unused.into_iter().filter(|(_, given)| *given).map(|(option, _)| option.to_string());
    if let Some(option) = unused.chain(options.given().into_iter().map(|(option, _)| option)).next() {
        return Err(Error::Config(format!(
            "{option}: an autoencoder decodes images directly from latents, without classes, samplers or steps"
        )));
    }
    let image = vae.image_shape();
    let pixels = image.iter().map(|&n| n as usize).product();
    let count = arguments.count.unwrap_or(COUNT);
    let drawing = Drawing { count, batch: arguments.batch.min(count), pixels, states: 1, whole_batches: false };
    check_memory(&drawing, output, image)?;
    let mut ctx = arguments.device.open_shared(ranks.clone())?;
    checkpoint.load(&mut ctx, "weights")?;
    let mixture = checkpoint.latent_mixture.clone().filter(|_| !arguments.normal_latents);
    let prior = LatentPrior::new(vae.latent_channels(), mixture);
    let decoder = Decoder::new(&mut ctx, vae, "weights", drawing.batch, "sample")?;
    let mut draw = |numbers: std::ops::Range<u32>, _: &mut degrain::diffusion::Observer<'_>| {
        Ok(SampledImages { images: decoder.draw(&ctx, &prior, arguments.seed(), numbers)?, frames: vec![] })
    };
    let latents = match prior.components() {
        0 => "N(0, 1)".to_string(),
        components => format!("a mixture of {}", counted(components, "Gaussian")),
    };
    let text = format!("{} of latents from {latents}, seed {}", counted(count, "image"), arguments.seed());
    note(format_args!("{}: {text} on {}", checkpoint.folder.display(), ctx.gpu.adapter()));
    let mut header = header(arguments, &drawing, checkpoint, &ctx);
    // A few latents stand for the distribution.
    let few: Vec<f32> = (0..8).flat_map(|number| prior.draw(arguments.seed(), number)).collect();
    header.set("--normal-latents", arguments.normal_latents);
    header.set_values("latents", Some(&few));
    header.set_kernels(decoder.forms());
    let description = Description { image, label: None, classes: 0, text };
    finish(arguments, Work { drawing: &drawing, header: &header, ranks: &**ranks }, &mut draw, &description)
}

/// What to draw, and who draws it.
struct Work<'a> {
    drawing: &'a Drawing,
    header: &'a PartHeader,
    ranks: &'a dyn Communicator,
}

/// Draws the images, writes the output and removes the file of finished images.
fn finish(arguments: &Arguments, work: Work<'_>, draw: &mut Draw<'_>, description: &Description<'_>) -> Result<()> {
    let Work { drawing, header, ranks } = work;
    let stop = cli::on_interrupt("finishing; press Ctrl-C again to stop at once")?;
    if !ranks.is_first() {
        return drawing.run(None, ranks, draw, &stop);
    }
    let mut store = drawing.open(&arguments.out, header)?;
    match drawing.run(Some(&mut store), ranks, draw, &stop) {
        Ok(()) => {}
        // Nothing to go on from.
        Err(problem) if store.count() == 0 => {
            // The first error is reported.
            let _ = store.remove();
            if matches!(problem, Error::Interrupted) {
                note("stopped before the first batch was finished");
            }
            return Err(problem);
        }
        Err(problem) => {
            let part = PartFile::path_for(&arguments.out);
            let keeps = format!("{} keeps {} of {}", part.display(), store.count(), counted(drawing.count, "image"));
            // Numbers that are not finite would come again.
            let next = if matches!(problem, Error::NonFinite(_)) { "" } else { ". The same command continues there" };
            note(format_args!("stopped: {keeps}{next}"));
            return Err(problem);
        }
    }
    let replaced = if arguments.out.exists() { " (replaced)" } else { "" };
    output::write(arguments, drawing, &mut store, description)?;
    store.remove()?;
    print(format!("{}{replaced}\n", arguments.out.display()))
}

/// What decides the images of every model.
fn header(arguments: &Arguments, drawing: &Drawing, checkpoint: &Checkpoint, ctx: &Context) -> PartHeader {
    let mut header = PartHeader::new();
    header.set_model("model", Some(checkpoint));
    header.set("--seed", arguments.seed());
    header.set("--count", drawing.count);
    header.set("adapter", ctx.gpu.adapter().to_string());
    header.set("states of an image", drawing.states);
    header.set("--batch", drawing.whole_batches.then_some(drawing.batch));
    header
}

/// Number of states of an image that are kept, including the image itself. The adaptive solver,
/// whose number of `stages` is not known, keeps at most this number.
fn kept_states(frames: u32, stages: Option<usize>) -> usize {
    let Some(stages) = stages else { return frames as usize + 1 };
    let mut times = FrameTimes::new(frames);
    (0..=stages).filter(|&stage| times.due(stage as f64 / stages as f64)).count() + 1
}

fn describe(arguments: &Arguments, count: u32, class: &str, sampling: &Sampling) -> String {
    let classifier = arguments
        .classifier
        .as_ref()
        .map_or(String::new(), |_| format!(", guided by a classifier with scale {}", arguments.classifier_scale));
    let (guidance, steps) = (sampling.guidance, sampling.describe());
    format!("{}, {class}, guidance {guidance}{classifier}, {steps}, seed {}", counted(count, "image"), arguments.seed())
}
