//! One evaluation, from the first image drawn to the numbers.

use super::evaluation::{Classes, Cost, Evaluation, ExtractorInfo, Sampling, SweepPoint};
use super::options::{Options, SweepSpec};
use super::progress::Progress;
use super::quality::Reference;
use super::samples::{self, Order, Samples};
use super::target::{EvalTarget, Source};
use super::{cas, cost, feature_cache, likelihoods, memorization};
use crate::data::Dataset;
use crate::diffusion::{ResolvedSampling, SamplingOptions};
use crate::gpu::Context;
use crate::metrics::balance::{Balance, Proportion};
use crate::metrics::feature_extractor::{FeatureExtractor, FeatureReader, Features};
use crate::output::grid::grid;
use crate::output::{Images, Layout, Picture};
use crate::{Error, Result};
use std::path::Path;

/// Images that the ruler reads at once.
const READ_AT_ONCE: u32 = 256;
/// Rows of the grid of drawn images.
const ROWS: usize = 4;

/// The numbers, and what belongs to them.
pub struct Measured {
    /// The numbers.
    pub evaluation: Evaluation,
    /// The images.
    pub drawn: Samples,
    /// A grid of the first of them.
    pub grid: Picture,
    /// Pairs of images and their nearest training images.
    pub closest: Picture,
}

/// What all parts of an evaluation need.
struct EvalContext<'a> {
    ctx: Context,
    target: &'a EvalTarget,
    options: &'a Options,
    reader: FeatureReader,
    reference: Reference,
    folder: &'a Path,
    cost: Option<Cost>,
}

/// Evaluates. In `folder`, that of the evaluation, lies what must survive an interruption.
///
/// # Errors
/// Options, model, data and ruler that do not fit each other; the device's and the disk's.
pub fn measure(
    ctx: &Context,
    target: &EvalTarget,
    ruler: &FeatureExtractor,
    options: &Options,
    folder: &Path,
) -> Result<Measured> {
    options.check(ruler.width())?;
    ruler.check(&target.train)?;
    let way = way(target, &options.options)?;
    let ways =
        options.sweep.iter().map(|sweep| swept(target, options, sweep, way.as_ref())).collect::<Result<Vec<_>>>()?;
    for warning in way.iter().chain(ways.iter().flatten()).flat_map(|way| &way.warnings) {
        eprintln!("warning: {warning}");
    }
    // What may fail for want of a file does so before hours of drawing.
    let cost = cost::cost(ctx, target)?;
    let mut ctx = ctx.fork();
    samples::load(&mut ctx, target)?;
    let reader = FeatureReader::new(&mut ctx, &ruler.network, &ruler.weights, READ_AT_ONCE, "ruler")?;
    let kept = |data: &Dataset, split: &str| {
        feature_cache::readings(&ctx, (ruler, &reader), data, split, &options.feature_cache)
    };
    let (train, test) = (kept(&target.train, "training")?, kept(&target.test, "test")?);
    let accuracy = test.accuracy(&target.test.labels);
    let reference = Reference::new(train, test)?;
    let mut bench = EvalContext { ctx, target, options, reader, reference, folder, cost };
    bench.all(ruler, accuracy, way, &ways)
}

/// How a denoiser is sampled.
fn way(target: &EvalTarget, options: &SamplingOptions) -> Result<Option<ResolvedSampling>> {
    match &target.source {
        Source::Denoiser(pipeline) => pipeline.sampling(options).map(Some),
        _ if *options != SamplingOptions::default() => Err(Error::Config(
            "--sampler, --steps, --guidance and a sampler's options are for denoisers: an autoencoder draws at once, and images from elsewhere \
             are there"
                .into(),
        )),
        _ => Ok(None),
    }
}

/// The way of a sweep; what is asked for besides holds there too, but for the options of another sampler.
fn swept(
    target: &EvalTarget,
    options: &Options,
    sweep: &SweepSpec,
    main: Option<&ResolvedSampling>,
) -> Result<Option<ResolvedSampling>> {
    let same = main.is_some_and(|way| way.scheduler.sampler == sweep.sampler);
    let options = SamplingOptions {
        sampler: Some(sweep.sampler),
        steps: Some(sweep.steps),
        guidance: sweep.guidance.or(options.options.guidance),
        options: if same { options.options.options } else { Default::default() },
        ..options.options
    };
    let named = |problem: Error| Error::Config(format!("--sweep {}:{}: {problem}", sweep.sampler.name(), sweep.steps));
    way(target, &options).map_err(named)
}

impl EvalContext<'_> {
    fn all(
        &mut self,
        ruler: &FeatureExtractor,
        accuracy: Proportion,
        way: Option<ResolvedSampling>,
        ways: &[Option<ResolvedSampling>],
    ) -> Result<Measured> {
        let (target, options) = (self.target, self.options);
        let drawn = self.draw(way.as_ref(), options.count)?;
        let readings = self.read(&drawn.bytes)?;
        let count = readings.count() as u32;
        let quality = self.reference.quality(&readings, options.seed)?;
        let classes = self.classes(&drawn, &readings, way.as_ref())?;
        let likelihood = likelihoods::likelihoods(&mut self.ctx, target, options)?;
        let (memorization, closest) = {
            let _part = Progress::begin("nearest training images");
            let data = [&target.train, &target.test];
            memorization::memorization(&drawn.bytes, &readings, &self.reference, data, options.nearest_count as usize)
        };
        let sweep = ways.iter().flatten().map(|way| self.sweep(way)).collect::<Result<_>>()?;
        let evaluation = Evaluation {
            subject: target.about.clone(),
            sampling: sampling(way.as_ref(), count, options.seed, drawn.seconds),
            ruler: ExtractorInfo {
                sha256: ruler.sha256.clone(),
                features: ruler.width() as u32,
                accuracy,
                dataset: ruler.dataset.clone(),
            },
            quality,
            classes,
            likelihood,
            memorization,
            cost: self.cost.take().map(|cost| Cost {
                sampling_bytes: drawn.device_bytes,
                sampling_images_per_second: f64::from(count) / drawn.seconds,
                ..cost
            }),
            sweep,
        };
        Ok(Measured { evaluation, grid: picture(&drawn, &target.train), drawn, closest })
    }

    fn draw(&mut self, way: Option<&ResolvedSampling>, count: u32) -> Result<Samples> {
        let how = way.map_or(String::new(), |way| format!(", {}, guidance {}", way.describe(), way.guidance));
        let what = match self.target.source {
            Source::Images(..) => "reading the images".to_string(),
            _ => format!("drawing {count} images{how}"),
        };
        let order = Order { count, batch: self.options.batch, seed: self.options.seed };
        samples::draw(&self.ctx, self.target, way, order, &what, self.folder)
    }

    fn read(&self, bytes: &[u8]) -> Result<Features> {
        let part = Progress::begin("features of the images");
        let count = bytes.len() / self.target.train.pixels();
        self.reader.read(&self.ctx, bytes, &mut |done| {
            part.done(done as f64 / count as f64);
            Ok(())
        })
    }

    /// Accuracy of images with classes, balance of those without, and what a classifier learns from them.
    fn classes(&mut self, drawn: &Samples, readings: &Features, way: Option<&ResolvedSampling>) -> Result<Classes> {
        let (train, options) = (&self.target.train, self.options);
        let number = train.classes;
        let mut classes = Classes { names: train.class_names.clone(), ..Classes::default() };
        let Some(labels) = &drawn.labels else {
            classes.balance = Some(balance(readings, train));
            return Ok(classes);
        };
        classes.accuracy = Some(readings.accuracy(labels));
        let of_class = |class: u32| {
            let pairs = readings.classes.iter().zip(labels).filter(|(_, label)| **label == class);
            let right = pairs.clone().filter(|(read, _)| **read == class).count();
            Proportion::of(right as u32, pairs.count() as u32)
        };
        classes.accuracy_by_class = (0..number as u32).map(of_class).collect();
        let null_class = match &self.target.source {
            Source::Denoiser(pipeline) => pipeline.card.labels.and_then(|labels| labels.null_class()),
            _ => None,
        };
        let balance_count = options.balance_count.unwrap_or(options.count / 4);
        if let (Some(way), Some(_), true) = (way, null_class, balance_count > 0) {
            let unguided = ResolvedSampling { guidance: 0.0, ..way.clone() };
            let drawn = self.draw(Some(&unguided), balance_count)?;
            classes.balance = Some(balance(&self.read(&drawn.bytes)?, train));
        }
        if options.cas_steps > 0 {
            let images = train.of_kind("drawn images", drawn.bytes.clone(), labels.clone());
            let score = cas::score(
                &self.ctx,
                images,
                &self.target.test,
                options.cas_steps,
                options.seed,
                &self.folder.join("classifier"),
            )?;
            classes.classification_accuracy_score = Some(score);
        }
        Ok(classes)
    }

    fn sweep(&mut self, way: &ResolvedSampling) -> Result<SweepPoint> {
        let drawn = self.draw(Some(way), self.options.sweep_count)?;
        let readings = self.read(&drawn.bytes)?;
        let sampling = sampling(Some(way), readings.count() as u32, self.options.seed, drawn.seconds);
        Ok(SweepPoint {
            sampler: sampling.sampler,
            steps: sampling.steps,
            guidance: sampling.guidance,
            count: sampling.count,
            seconds_per_image: drawn.seconds / f64::from(sampling.count),
            fd_test: self.reference.distance_to_test(&readings)?,
            accuracy: drawn.labels.map(|labels| readings.accuracy(&labels)),
        })
    }
}

fn sampling(way: Option<&ResolvedSampling>, count: u32, seed: u64, seconds: f64) -> Sampling {
    match way {
        Some(way) => Sampling {
            count,
            sampler: way.scheduler.sampler.name().into(),
            steps: if way.plan.ode.is_some() { 0 } else { way.steps },
            guidance: way.guidance,
            seed,
            seconds,
        },
        None => Sampling { count, sampler: "none".into(), steps: 0, guidance: 1.0, seed, seconds },
    }
}

/// Counts of classes as the ruler reads them, against the training set's shares.
fn balance(readings: &Features, train: &Dataset) -> Balance {
    let mut counts = vec![0u32; train.classes];
    train.labels.iter().for_each(|&label| counts[label as usize] += 1);
    let shares: Vec<f64> = counts.iter().map(|&count| f64::from(count) / train.count as f64).collect();
    Balance::of(&readings.counts(train.classes), &shares)
}

/// The first images: a column for each class, where there are classes.
fn picture(drawn: &Samples, data: &Dataset) -> Picture {
    let columns = if (2..=10).contains(&data.classes) { data.classes } else { 10 };
    let count = (drawn.bytes.len() / data.pixels()).min(ROWS * columns);
    let [channels, height, width] = data.shape().map(|n| n as usize);
    let images = Images::new(&drawn.bytes[..count * data.pixels()], [count, channels, height, width]);
    grid(&images, Layout { columns, scale: 2, ..Layout::default() })
}
