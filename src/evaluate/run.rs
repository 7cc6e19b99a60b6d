//! Runs an evaluation, from sampling to the metrics.

use super::context::EvalContext;
use super::evaluation::{BrightnessPair, ClassMetrics, Cost, Evaluation, ExtractorInfo, SamplingInfo, SweepPoint};
use super::feature_cache::FeatureCache;
use super::latents::latent_prior;
use super::memorization::{SampleFeatures, memorization};
use super::options::EvalOptions;
use super::progress::Phase;
use super::quality::{Reference, reference_subset};
use super::samples::{SampleSpec, Samples, sample, write_weights};
use super::target::{EvalTarget, ImageSource, WEIGHTS};
use super::{cas, cost, likelihoods};
use crate::data::Dataset;
use crate::diffusion::latent_prior::LatentPrior;
use crate::diffusion::{Sampling, SamplingOptions};
use crate::files::FolderLock;
use crate::gpu::Context;
use crate::metrics::balance::Balance;
use crate::metrics::brightness::Brightness;
use crate::metrics::feature_extractor::{FeatureExtractor, FeatureProgram, Features};
use crate::metrics::frechet::check_count;
use crate::metrics::proportion::Proportion;
use crate::output::grid::grid;
use crate::output::{ClassGrid, Images, Layout, Picture, note};
use crate::{Error, Result, memory};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Batch size of the feature extractor.
const EXTRACTOR_BATCH: u32 = 256;

/// The results of an evaluation.
pub struct EvaluationOutput {
    /// The metrics.
    pub evaluation: Evaluation,
    /// The evaluated images.
    pub samples: Samples,
    /// A grid of the first images.
    pub grid: Picture,
    /// The samples nearest to training images, above these training images.
    pub closest: Picture,
    /// Caches of the samples, which are removed when the evaluation is written.
    pub(super) caches: Vec<PathBuf>,
    /// The right to write into the folder of the evaluation, on rank 0.
    _lock: Option<FolderLock>,
}

/// Sampling settings of the main samples and of each sweep entry; `None` for targets without a
/// sampler.
struct Samplings {
    main: Option<Sampling>,
    sweep: Vec<Sampling>,
}

/// An evaluation in progress.
struct EvaluationRun<'a> {
    context: EvalContext<'a>,
    extractor: FeatureProgram,
    reference: Reference,
    lock: Option<FolderLock>,
}

/// Runs a complete evaluation. Temporary files in `folder`, the evaluation's folder, allow an
/// interrupted evaluation to resume. The ranks of the context divide the work. All of them get the
/// result, except the classification accuracy score, and rank 0 should write it.
///
/// # Errors
/// Options, model, data and feature extractor that do not fit together; errors of device and disk.
pub fn run(
    ctx: &Context,
    target: &EvalTarget,
    extractor: &FeatureExtractor,
    options: &EvalOptions,
    folder: &Path,
) -> Result<EvaluationOutput> {
    options.check(extractor.width())?;
    extractor.check(&target.train)?;
    let samplings = Samplings::resolve(target, options)?;
    for (split, data) in [("training", &*target.train), ("test", &target.test)] {
        check_count(data.count, &format!("{split} images"), extractor.width())?;
    }
    match &target.source {
        ImageSource::Images(bytes, labels) => {
            let count = bytes.len() / target.train.pixels();
            check_count(count, "images in the file", extractor.width())?;
            let alike = reference_subset(&target.train.labels, count, labels.as_deref(), 0).len();
            check_count(alike, "training images of the classes in the file", extractor.width())?;
        }
        _ => check_memory(options, target, extractor.width())?,
    }
    if let ImageSource::Denoiser(checkpoint) = &target.source {
        let denoiser = checkpoint.denoiser(WEIGHTS)?;
        for sampling in samplings.main.iter().chain(&samplings.sweep) {
            let (_, warnings) = sampling.plan(denoiser.process)?;
            warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        }
    }
    // A missing or damaged file of the run must fail here, before hours of sampling.
    let cost = cost::cost(ctx, target)?;
    let lock = if ctx.ranks.is_first() { Some(FolderLock::acquire(folder)?) } else { None };
    if lock.is_some() {
        cas::remove_old_folders(folder)?;
    }
    let mut ctx = ctx.fork();
    write_weights(&mut ctx, target)?;
    let program =
        FeatureProgram::new(&mut ctx, &extractor.network, &extractor.weights, EXTRACTOR_BATCH, "feature_extractor")?;
    let cache = FeatureCache { folder: &options.feature_cache, extractor, program: &program };
    let train = cache.features(&ctx, &target.train, "training")?;
    let test = cache.features(&ctx, &target.test, "test")?;
    let extractor_info = ExtractorInfo {
        sha256: extractor.sha256.clone(),
        features: extractor.width() as u32,
        accuracy: test.accuracy(&target.test.labels),
        dataset: extractor.dataset.clone(),
    };
    let reference = Reference::fit(train, &target.train.labels, test)?;
    let latents = latent_prior(&mut ctx, target, options)?;
    let context = EvalContext { ctx, target, options, folder, latents, caches: RefCell::default() };
    let run = EvaluationRun { context, extractor: program, reference, lock };
    run.evaluate(&samplings, extractor_info, cost)
}

/// Refuses more samples than the memory holds: they are kept until all are measured.
fn check_memory(options: &EvalOptions, target: &EvalTarget, features: usize) -> Result<()> {
    // The bytes and a copy for the classification accuracy score, the features and a copy, and the
    // classes.
    let each = 2 * target.train.pixels() + 8 * features + 8;
    let sweep = if options.sweep.is_empty() { 0 } else { options.sweep_count };
    let balance = options.balance_count.unwrap_or(0);
    // The other samples are drawn while the main ones are kept.
    let options =
        [("count", 0, options.count), ("balance-count", options.count, balance), ("sweep-count", options.count, sweep)];
    for (option, kept, count) in options.into_iter().filter(|&(_, _, count)| count > 0) {
        let bytes = (u128::from(kept) + u128::from(count)) * each as u128;
        if !memory::fits(bytes) {
            return Err(Error::Config(format!(
                "--{option} {count}: all samples need {:.1} GB of memory, more than this system has. Use a smaller number",
                bytes as f64 * 1e-9
            )));
        }
    }
    Ok(())
}

impl Samplings {
    fn resolve(target: &EvalTarget, options: &EvalOptions) -> Result<Samplings> {
        let main = resolve(target, &options.sampling)?;
        let sweep = options.sweep.iter().map(|&entry| resolve_sweep(target, options, entry, main.as_ref()));
        let sweep = sweep.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Samplings { main, sweep })
    }
}

/// Sampling settings of a denoiser; `None` for other targets.
fn resolve(target: &EvalTarget, options: &SamplingOptions) -> Result<Option<Sampling>> {
    match &target.source {
        ImageSource::Denoiser(checkpoint) => checkpoint.sampling(*options).map(Some),
        _ if *options != SamplingOptions::default() => Err(Error::Config(
            "--sampler, --steps, --guidance and other sampler options need a denoiser: autoencoders and files of \
             images have no sampler"
                .into(),
        )),
        _ => Ok(None),
    }
}

/// Sampling settings of a sweep entry: the command line's, with this entry's sampler, steps and
/// guidance. Options of a different sampler are dropped, and the steps for one that chooses them.
fn resolve_sweep(
    target: &EvalTarget,
    options: &EvalOptions,
    entry: SamplingOptions,
    main: Option<&Sampling>,
) -> Result<Option<Sampling>> {
    let main = SamplingOptions { sampler: main.map(|main| main.sampler), ..options.sampling };
    let sampling = SamplingOptions { steps: entry.steps, ..entry.or(main) };
    resolve(target, &sampling).map_err(|problem| {
        let sampler = entry.sampler.map_or("", |sampler| sampler.name());
        let steps = entry.steps.map_or(String::new(), |steps| format!(":{steps}"));
        Error::Config(format!("--sweep {sampler}{steps}: {problem}"))
    })
}

impl EvaluationRun<'_> {
    fn evaluate(
        mut self,
        samplings: &Samplings,
        feature_extractor: ExtractorInfo,
        cost: Option<Cost>,
    ) -> Result<EvaluationOutput> {
        let target = self.context.target;
        let options = self.context.options;
        let main = samplings.main.as_ref();
        let samples = sample(&self.context, SampleSpec { sampling: main, count: options.count })?;
        let features = self.features(&samples.bytes)?;
        let count = features.count() as u32;
        let quality = self.reference.quality(&features, samples.labels.as_deref(), options.seed)?;
        let classes = self.classes(&samples, &features, main)?;
        let likelihood = likelihoods::likelihoods(&mut self.context)?;
        let (memorization, closest) = {
            let _bar = Phase::new("searching the nearest training images");
            let set = SampleFeatures { bytes: &samples.bytes, features: &features };
            memorization(&*self.context.ctx.ranks, set, &self.reference, target, options.nearest_count as usize)?
        };
        let sweep = samplings.sweep.iter().map(|sampling| self.sweep(sampling)).collect::<Result<_>>()?;
        let brightness = |bytes: &[u8]| Brightness::of(bytes, target.train.shape().map(|n| n as usize));
        let brightness = BrightnessPair { samples: brightness(&samples.bytes), test: brightness(&target.test.images) };
        let evaluation = Evaluation {
            target: target.info.clone(),
            sampling: SamplingInfo {
                latent_components: self.context.latents.as_ref().map_or(0, LatentPrior::components),
                ..sampling_info(main, count, options.seed, samples.seconds)
            },
            feature_extractor,
            quality,
            brightness: Some(brightness),
            classes,
            likelihood,
            memorization,
            cost: cost.map(|cost| Cost {
                sampling_bytes: samples.device_bytes,
                sampling_images_per_second: f64::from(count) / samples.seconds,
                ..cost
            }),
            sweep,
        };
        let caches = self.context.caches.take();
        Ok(EvaluationOutput {
            evaluation,
            grid: sample_grid(&samples, &target.train),
            samples,
            closest,
            caches,
            _lock: self.lock,
        })
    }

    fn features(&self, bytes: &[u8]) -> Result<Features> {
        let bar = Phase::new("computing features of the samples");
        let count = bytes.len() / self.context.target.train.pixels();
        self.extractor.run(&self.context.ctx, bytes, &mut |done| {
            bar.set(done as f64 / count as f64);
            Ok(())
        })
    }

    /// Class accuracy and classification accuracy score of conditional samples, and class balance
    /// of unconditional samples. A conditional model that was trained with label dropout can sample
    /// both.
    fn classes(&mut self, samples: &Samples, features: &Features, sampling: Option<&Sampling>) -> Result<ClassMetrics> {
        let train = &self.context.target.train;
        let options = self.context.options;
        let mut metrics = ClassMetrics { names: train.class_names.clone(), ..ClassMetrics::default() };
        let Some(labels) = &samples.labels else {
            metrics.balance = Some(balance(features, train));
            return Ok(metrics);
        };
        metrics.accuracy = Some(features.accuracy(labels));
        // The classes of images from a file may have any shares.
        let has_shares = !matches!(self.context.target.source, ImageSource::Images(..));
        metrics.balance_with_classes = has_shares.then(|| balance(features, train));
        let accuracy = |class: u32| {
            let pairs = features.classes.iter().zip(labels).filter(|(_, label)| **label == class);
            let correct = pairs.clone().filter(|(predicted, _)| **predicted == class).count();
            Proportion::new(correct as u32, pairs.count() as u32)
        };
        metrics.accuracy_by_class = (0..train.classes as u32).map(accuracy).collect();
        let null_class = match &self.context.target.source {
            ImageSource::Denoiser(checkpoint) => {
                checkpoint.metadata.denoiser.labels.and_then(|labels| labels.null_class())
            }
            _ => None,
        };
        let balance_count = options.balance_count.unwrap_or(options.count / 4);
        if let (Some(sampling), Some(_), true) = (sampling, null_class, balance_count > 0) {
            let unconditional = Sampling { guidance: 0.0, ..*sampling };
            let spec = SampleSpec { sampling: Some(&unconditional), count: balance_count };
            let samples = sample(&self.context, spec)?;
            metrics.balance = Some(balance(&self.features(&samples.bytes)?, train));
        }
        // Two trainings, by rank 0.
        if options.cas_steps > 0 && self.context.ctx.ranks.is_first() {
            let images = train.of_kind("samples", samples.bytes.clone(), labels.clone());
            metrics.classification_accuracy_score = Some(cas::classification_accuracy_score(&self.context, images)?);
            let images = chosen(train, &reference_subset(&train.labels, labels.len(), Some(labels), 0));
            metrics.classification_accuracy_reference =
                Some(cas::classification_accuracy_score(&self.context, images)?);
        }
        Ok(metrics)
    }

    fn sweep(&self, sampling: &Sampling) -> Result<SweepPoint> {
        let options = self.context.options;
        let samples = sample(&self.context, SampleSpec { sampling: Some(sampling), count: options.sweep_count })?;
        let features = self.features(&samples.bytes)?;
        let info = sampling_info(Some(sampling), features.count() as u32, options.seed, samples.seconds);
        Ok(SweepPoint {
            sampler: info.sampler,
            steps: info.steps,
            guidance: info.guidance,
            count: info.count,
            seconds_per_image: samples.seconds / f64::from(info.count),
            fd_test: self.reference.distance_to_test(&features)?,
            accuracy: samples.labels.map(|labels| features.accuracy(&labels)),
        })
    }
}

fn sampling_info(sampling: Option<&Sampling>, count: u32, seed: u64, seconds: f64) -> SamplingInfo {
    match sampling {
        Some(sampling) => SamplingInfo {
            count,
            sampler: sampling.sampler.name().into(),
            steps: if sampling.adaptive() { 0 } else { sampling.steps },
            guidance: sampling.guidance,
            settings: sampling.other_settings(),
            latent_components: 0,
            seed,
            seconds,
        },
        None => SamplingInfo {
            count,
            sampler: "none".into(),
            steps: 0,
            guidance: 1.0,
            settings: String::new(),
            latent_components: 0,
            seed,
            seconds,
        },
    }
}

/// Predicted class counts compared with the shares of the training set.
fn balance(features: &Features, train: &Dataset) -> Balance {
    let shares: Vec<f64> = train.class_counts().iter().map(|&count| count as f64 / train.count as f64).collect();
    Balance::new(&features.counts(train.classes), &shares)
}

/// Some images of the training set.
fn chosen(train: &Dataset, rows: &[usize]) -> Dataset {
    let images = rows.iter().flat_map(|&row| train.image(row)).copied().collect();
    train.of_kind("training images", images, rows.iter().map(|&row| train.labels[row]).collect())
}

/// A grid of the first samples, or of the first samples of each class. With few classes, each
/// column is a class. Classes without a sample are left out.
fn sample_grid(samples: &Samples, data: &Dataset) -> Picture {
    let all = samples.bytes.len() / data.pixels();
    let (shape, rows) = match &samples.labels {
        Some(labels) => {
            let of_class = by_class(labels, data.classes);
            (ClassGrid::new(of_class.len()), in_turn(&of_class))
        }
        None => (ClassGrid::new(data.classes), (0..all).collect()),
    };
    let rows = &rows[..rows.len().min(shape.count)];
    let bytes: Vec<u8> =
        rows.iter().flat_map(|row| &samples.bytes[row * data.pixels()..][..data.pixels()]).copied().collect();
    let [channels, height, width] = data.shape().map(|n| n as usize);
    let images = Images::new(&bytes, [rows.len(), channels, height, width]);
    grid(&images, Layout { columns: shape.columns, scale: 2, ..Layout::default() })
}

/// Numbers of the images of each class that has one.
fn by_class(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut of_class = vec![vec![]; classes];
    labels.iter().enumerate().for_each(|(k, &label)| of_class[label as usize].push(k));
    of_class.retain(|images| !images.is_empty());
    of_class
}

/// Numbers of images with all classes in turn, for as long as there is an image of each.
fn in_turn(of_class: &[Vec<usize>]) -> Vec<usize> {
    let rows = of_class.iter().map(Vec::len).min().unwrap_or(0);
    (0..rows).flat_map(|row| of_class.iter().map(move |images| images[row])).collect()
}
