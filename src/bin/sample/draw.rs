//! Draws batch after batch, and shows how far it is.

use super::Arguments;
use super::output::Output;
use super::request::{labels, padded, read_noise};
use degrain::diffusion::pipeline::{self, Checkpoint, Pipeline};
use degrain::diffusion::{
    ClassifierGuide, Generator, Process, Request, ResolvedSampling, SchedulerConfig, autoencoder,
};
use degrain::gpu::Context;
use degrain::nn::registry::AnyModel;
use degrain::nn::{Classifier, Model, Network, Vae};
use degrain::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Frames of an animation, besides the last.
const FRAMES: u32 = 40;
/// Parts in which the progress bar counts a batch.
const PARTS: f64 = 1000.0;

/// Samples, and what there is to say of them.
pub struct Samples {
    pub images: Vec<f32>,
    /// The batch at each look, if an animation was asked for.
    pub frames: Vec<Vec<f32>>,
    pub labels: Option<Vec<u32>>,
    pub image: [u32; 3],
    pub classes: usize,
    pub description: String,
}

pub fn draw(arguments: &Arguments, output: Output) -> Result<Samples> {
    let folder = pipeline::locate(&arguments.checkpoint)?;
    if let (AnyModel::Vae(_), _) = pipeline::read_config(&folder)?
        && let Checkpoint { model: AnyModel::Vae(vae), weights, .. } = pipeline::read_model(&folder)?
    {
        return decode(arguments, output, &vae, &weights);
    }
    let pipeline = Pipeline::read(&folder)?;
    pipeline.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let labels = labels(&pipeline, arguments)?;
    let image = match (arguments.image_size, pipeline.network.image_shape()) {
        (Some(side), made_for) => [made_for.map_or(pipeline.channels(), |[channels, ..]| channels), side, side],
        (None, Some(image)) => image,
        (None, None) => {
            let problem = "the checkpoint does not say how large its images are: give --image-size";
            return Err(Error::Config(problem.into()));
        }
    };
    pipeline.network.check_size(image[1], image[2])?;
    let way = pipeline.sampling(&arguments.options)?;
    let ResolvedSampling { plan, guidance, .. } = &way;
    way.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let classifier = arguments.classifier.as_deref().map(|run| read_classifier(run, &pipeline, image)).transpose()?;

    let ctx = Context::open(arguments.adapter.as_deref())?;
    let batch = arguments.batch.min(arguments.count);
    let mut ctx = ctx.fork();
    pipeline.network.parameters().write(&mut ctx, "weights", &pipeline.weights)?;
    let guide = match &classifier {
        Some((network, weights)) => {
            network.parameters().write(&mut ctx, "classifier", weights)?;
            Some(ClassifierGuide { network, slab: "classifier", scale: arguments.classifier_scale })
        }
        None => None,
    };
    let rescale = arguments.guidance_rescale;
    if !(0.0..=1.0).contains(&rescale) {
        return Err(Error::Config(format!("--guidance-rescale {rescale} must be between 0 and 1")));
    }
    let request = Request {
        batch,
        image,
        guidance: *guidance,
        guidance_rescale: rescale,
        classifier: guide,
        seed: arguments.seed,
    };
    let model = pipeline.denoiser("weights");
    let generator = Generator::new(&mut ctx, &model, plan, &request, "sample")?;
    let each = image.iter().map(|&n| n as usize).product::<usize>();
    let given = arguments
        .noise
        .as_deref()
        .map(|path| read_noise(path, [arguments.count, image[0], image[1], image[2]]))
        .transpose()?;

    let description = describe(arguments, *guidance, &way.describe());
    eprintln!("{}: {description} on {}", folder.display(), ctx.gpu.adapter());
    let batches = arguments.count.div_ceil(batch);
    let style = ProgressStyle::with_template("{bar:30} {percent} %  {eta_precise} left");
    let bar = ProgressBar::new(u64::from(batches) * PARTS as u64);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut images: Vec<f32> = Vec::with_capacity(arguments.count as usize * each);
    let mut frames: Vec<Vec<f32>> = vec![];
    for (number, first) in (0..arguments.count).step_by(batch as usize).enumerate() {
        let count = batch.min(arguments.count - first);
        let chosen = &labels[first as usize..(first + count) as usize];
        let start = given.as_ref().map(|noise| {
            let part = &noise[first as usize * each..][..count as usize * each];
            padded(&part.iter().map(|x| plan.prior_std * x).collect::<Vec<f32>>(), batch as usize * each)
        });
        generator.begin(&ctx, first, chosen, start.as_deref())?;
        let mut looks = 0;
        let mut look = |done: f64| -> Result<()> {
            bar.set_position(((number as f64 + done) * PARTS) as u64);
            let due = (done * f64::from(FRAMES)) as usize;
            if output == Output::Animation && (looks <= due) {
                if frames.len() <= looks {
                    frames.push(vec![]);
                }
                frames[looks].extend(&generator.images(&ctx)?[..count as usize * each]);
                looks += 1;
            }
            Ok(())
        };
        look(0.0)?;
        generator.run(&ctx, &model, first, &mut look)?;
        images.extend(&generator.images(&ctx)?[..count as usize * each]);
    }
    bar.finish_and_clear();
    // An adaptive solver looks at another number of moments in each batch.
    let whole = images.len();
    frames.retain(|frame| frame.len() == whole);
    frames.extend((output == Output::Animation).then(|| images.clone()));
    let conditional = pipeline.network.classes().is_some() || classifier.is_some();
    let classes = pipeline.card.class_names.len();
    Ok(Samples { images, frames, labels: conditional.then_some(labels), image, classes, description })
}

/// Images of latents drawn from the prior.
fn decode(arguments: &Arguments, output: Output, vae: &Vae, weights: &[f32]) -> Result<Samples> {
    let asked = [
        ("class", arguments.class.is_some()),
        ("guidance", arguments.options.guidance.is_some_and(|scale| scale != 1.0)),
        ("classifier", arguments.classifier.is_some()),
        ("sampler", arguments.options.sampler.is_some()),
        ("steps", arguments.options.steps.is_some()),
        ("noise", arguments.noise.is_some()),
        ("out *.apng", output == Output::Animation),
    ];
    if let Some((option, _)) = asked.iter().find(|(_, asked)| *asked) {
        return Err(Error::Config(format!(
            "--{option}: an autoencoder draws an image at once from its latent, without classes, samplers or steps"
        )));
    }
    let ctx = Context::open(arguments.adapter.as_deref())?;
    let mut ctx = ctx.fork();
    vae.parameters().write(&mut ctx, "weights", weights)?;
    let decoder = autoencoder::Decoder::new(&mut ctx, vae, "weights", arguments.batch.min(arguments.count), "sample")?;
    let images = decoder.draw(&ctx, arguments.seed, 0..arguments.count)?;
    let description = format!("{} images of latents from the prior, seed {}", arguments.count, arguments.seed);
    Ok(Samples { images, frames: vec![], labels: None, image: vae.image_shape(), classes: 0, description })
}

/// A classifier with its weights, which must be of the model's data and process.
fn read_classifier(run: &std::path::Path, pipeline: &Pipeline, image: [u32; 3]) -> Result<(Classifier, Vec<f32>)> {
    let folder = pipeline::locate(run)?;
    let Checkpoint { model, weights, card, .. } = pipeline::read_model(&folder)?;
    let AnyModel::Classifier(network) = model else {
        let problem =
            format!("holds a {}, not a classifier: train one with --preset classifier", model.model().class());
        return Err(Error::file(&folder, problem));
    };
    let theirs = card.unwrap_or_default();
    let ours = &pipeline.card;
    if theirs.dataset != ours.dataset || theirs.class_names != ours.class_names || network.image_shape() != Some(image)
    {
        let problem = format!(
            "the classifier was trained on {} ({} classes), and the model on {} ({} classes): one of the same data is needed",
            theirs.dataset,
            theirs.class_names.len(),
            ours.dataset,
            ours.class_names.len()
        );
        return Err(Error::file(&folder, problem));
    }
    if network.time_width() > 0 {
        // It knows the noise of the process that it was trained on, and no other.
        let (scheduler, _) = SchedulerConfig::read(&folder.join("scheduler/scheduler_config.json"))?;
        let theirs = scheduler.process()?;
        let bars = |process: &dyn Process| process.schedule().map(|noise| noise.alphas_cumprod().to_vec());
        if bars(&theirs) != bars(&*pipeline.process) {
            let problem = format!(
                "the classifier was trained on the noise of another process ({}) than the model ({}): train it with the model's --schedule, \
                 --timesteps and --rescale-betas, or with --noise-aware false",
                theirs.describe(),
                pipeline.process.describe()
            );
            return Err(Error::file(&folder, problem));
        }
    }
    Ok((network, weights))
}

fn describe(arguments: &Arguments, guidance: f32, how: &str) -> String {
    let class = arguments.class.as_ref().map_or("all classes in turn".into(), |class| format!("class {class}"));
    let by = arguments
        .classifier
        .as_ref()
        .map_or(String::new(), |_| format!(", guided by a classifier with scale {}", arguments.classifier_scale));
    format!("{} images, {class}, guidance {guidance}{by}, {how}, seed {}", arguments.count, arguments.seed)
}
