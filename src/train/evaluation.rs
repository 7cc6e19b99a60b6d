//! Evaluations while a run goes on: bits a dimension of held-back images, and a Frechet distance of a few hundred images to training images, both
//! with the averaged weights.
//!
//! The test images stay unseen until the end, and a distance of few images is biased upward: these numbers are for comparing steps of one run.

use super::objective::{Drawing, Objective};
use super::programs::{EMA, Job};
use super::run_log::RunLog;
use super::settings::Config;
use crate::data::Dataset;
use crate::gpu::Context;
use crate::metrics::feature_extractor::{FeatureExtractor, FeatureProgram};
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::likelihood::LabeledImages;
use crate::{Error, Result};

/// Training images that distances are measured to.
const COMPARED: usize = 10_000;
/// Held-back images whose bits are measured.
const MEASURED: usize = 256;
/// Images that the ruler reads at once.
const READ_AT_ONCE: u32 = 128;

/// What evaluations need: the ruler, and what it says of the training images. The programs of bound and sampler are compiled anew each time.
pub struct Evaluator {
    reader: FeatureProgram,
    training: Gaussian,
}

impl Evaluator {
    /// Reads the ruler and measures the training images, if the run is to be evaluated and its model draws images.
    ///
    /// # Errors
    /// A ruler that is missing or of other data; too few images for a covariance; the device's.
    pub fn new(ctx: &mut Context, job: &Job<'_>) -> Result<Option<Evaluator>> {
        let Some(ruler) = ruler(job.config, job.objective, job.dataset)? else { return Ok(None) };
        let data = job.dataset;
        let reader = FeatureProgram::new(ctx, &ruler.network, &ruler.weights, READ_AT_ONCE, "evaluation.ruler")?;
        let compared = &data.images[..COMPARED.min(job.training_images() as usize) * data.pixels()];
        let readings = reader.run(ctx, compared, &mut |_| Ok(()))?;
        let training = Gaussian::fit(&readings.features, readings.width)?;
        Ok(Some(Evaluator { reader, training }))
    }

    /// Evaluates after step `n`, `seconds` into training.
    ///
    /// # Errors
    /// The device's and the disk's; images that are not finite.
    pub fn evaluate(&self, ctx: &mut Context, job: &Job<'_>, run_log: &mut RunLog, n: u32, seconds: f64) -> Result<()> {
        let bits = match held_back(job.dataset, job.training_images() as usize) {
            Some(images) => job.objective.bits(ctx, images, EMA, job.config)?,
            None => None,
        };
        let drawn = draw(ctx, job)?;
        let readings = self.reader.run(ctx, &drawn, &mut |_| Ok(()))?;
        let distance = frechet_distance(&Gaussian::fit(&readings.features, readings.width)?, &self.training)?;
        run_log.evaluation(n, seconds, bits, Some(distance))
    }
}

/// The ruler of a run that is to be evaluated while it goes on; none, if it is not, or draws no images.
///
/// # Errors
/// A ruler that is missing or of other data; too few images for a covariance.
pub fn ruler(config: &Config, objective: &dyn Objective, data: &Dataset) -> Result<Option<FeatureExtractor>> {
    if config.evaluate_every == 0 || !objective.draws() {
        return Ok(None);
    }
    let (ruler, count) = (FeatureExtractor::open(&config.feature_extractor)?, config.evaluate_count);
    ruler.check(data)?;
    if count as usize <= ruler.width() {
        return Err(Error::Config(format!(
            "--evaluate-count {count}: the Frechet distance of {} features needs at least {} images",
            ruler.width(),
            ruler.width() + 1
        )));
    }
    Ok(Some(ruler))
}

/// The first images that are held back.
fn held_back(data: &Dataset, training: usize) -> Option<LabeledImages<'_>> {
    let count = MEASURED.min(data.count - training);
    let bytes = &data.images[training * data.pixels()..][..count * data.pixels()];
    (count > 0).then(|| LabeledImages { bytes, labels: &data.labels[training..training + count] })
}

/// Images of all classes in turn, bytes `[N, C, H, W]`.
fn draw(ctx: &mut Context, job: &Job<'_>) -> Result<Vec<u8>> {
    let (count, batch) = (job.config.evaluate_count, job.config.batch);
    let classes = job.dataset.classes.max(1) as u32;
    let mut bytes = vec![];
    for first in (0..count).step_by(batch as usize) {
        let labels: Vec<u32> = (first..(first + batch).min(count)).map(|k| k % classes).collect();
        let drawing = Drawing { slab: EMA, labels: &labels, first, name: "evaluation.draw", looks: 0 };
        let columns = job.objective.draw(ctx, job.config, &drawing)?.unwrap_or_default();
        bytes.extend(columns.last().map_or(&[][..], |images| images.bytes()));
    }
    Ok(bytes)
}
