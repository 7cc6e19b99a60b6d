//! Measurements between training steps, all with the EMA weights: the validation loss, and
//! evaluations of bits per dimension and Frechet distance.
//!
//! The test images are not used during a run, and the Frechet distance of few images is biased
//! upward. Use these values only to compare steps of one run.

use super::buffers::{EMA, VALIDATION_LOSS, VALIDATION_TIMESTEPS};
use super::clock::Progress;
use super::config::Config;
use super::log_entry::{LogEntry, Metric, by_quarter};
use super::objective::{Generative, LikelihoodRequest, SampleRequest};
use super::trainer::Trainer;
use crate::Result;
use crate::metrics::feature_extractor::FeatureProgram;
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::likelihood::LabeledImages;
use crate::metrics::subset::subset;
use crate::tape::{Program, Step};
use std::sync::atomic::AtomicBool;

/// Seed of the validation noise, different from training's.
const VALIDATION_SEED: u32 = 0x7a11_da7e;
/// Number of training images in the Frechet distance.
const TRAINING_IMAGES: usize = 10_000;
/// Number of the subsets of training images.
const TRAINING_SUBSET: u32 = 0x7a11;
/// Number of validation images, and of training images, whose bits per dimension are measured.
const LIKELIHOOD_IMAGES: usize = 256;
/// Batch size of the feature extractor.
const FEATURE_BATCH: u32 = 128;

/// The feature extractor of a run and the features of the training images.
pub struct Evaluator {
    reader: FeatureProgram,
    training: Gaussian,
}

impl Trainer {
    /// Measures the loss of all validation images with the EMA weights. Several ranks divide them,
    /// and all get the result.
    ///
    /// # Errors
    /// A metric that cannot be measured.
    pub(super) fn validate(&self, program: &Program, progress: Progress) -> Result<LogEntry> {
        let (part, total) = (self.ranks.part, self.config.validation_count);
        let metric = self.objective.validation_metric();
        let mut losses: Vec<f32> = vec![];
        let mut times: Vec<f32> = vec![];
        let mut metric_sum = 0.0;
        let all = total.next_multiple_of(part.whole);
        // A batch has all noise levels in equal shares, so whole batches are counted.
        let counted = if self.objective.num_times() > 1 { all } else { total };
        for first_image in (part.first..all).step_by(part.whole as usize) {
            let step = Step { seed_low: VALIDATION_SEED, first_image, ..Step::default() };
            program.run(&self.ctx, &step)?;
            losses.extend(self.ctx.read::<f32>(VALIDATION_LOSS, 0, part.count as usize)?);
            let indices = self.ctx.read::<u32>(VALIDATION_TIMESTEPS, 0, part.count as usize)?;
            times.extend(indices.iter().map(|&time| time as f32));
            // The images of the last batch past the end are the first ones again.
            let count = part.count.min(total.saturating_sub(first_image)) as usize;
            if let Some(metric) = metric.filter(|_| count > 0) {
                metric_sum += count as f64 * metric.measure(&self.ctx, count)?;
            }
        }
        let losses = self.ranks.gather_batches(&losses, counted);
        let times = self.ranks.gather_batches(&times, counted);
        let metric_sum = self.ranks.add(metric_sum);
        Ok(LogEntry::Validation {
            step: progress.step,
            seconds: progress.seconds,
            validation_loss: losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / f64::from(counted),
            validation_by_quarter: by_quarter(&losses, &times, self.objective.num_times()),
            metric: metric.map(|metric| Metric { name: metric.name().into(), value: metric_sum / f64::from(total) }),
        })
    }

    /// Reads the feature extractor and the features of the training images, if the run is
    /// evaluated.
    ///
    /// # Errors
    /// A feature extractor that is missing or made for other images; too few images for a
    /// covariance.
    pub(super) fn evaluator(&mut self) -> Result<Option<Evaluator>> {
        let Some(extractor) = self.feature_extractor()? else { return Ok(None) };
        let (network, weights) = (&extractor.network, &extractor.weights);
        let reader = FeatureProgram::new(&mut self.ctx, network, weights, FEATURE_BATCH, "evaluation.features")?;
        let count = TRAINING_IMAGES.min(self.training_images() as usize);
        let rows = subset(self.training_images() as usize, count, [TRAINING_SUBSET, 0], 0);
        let images: Vec<u8> = rows.iter().flat_map(|&row| self.dataset.image(row)).copied().collect();
        let features = reader.run(&self.ctx, &images, &mut |_| Ok(()))?;
        let training = Gaussian::fit(&features.features, features.width)?;
        Ok(Some(Evaluator { reader, training }))
    }

    /// Measures bits per dimension and the Frechet distance with the EMA weights.
    ///
    /// # Errors
    /// Samples that are not finite.
    pub(super) fn evaluate(
        &mut self,
        evaluator: &Evaluator,
        progress: Progress,
        stop: &AtomicBool,
    ) -> Result<LogEntry> {
        let training = self.training_images() as usize;
        let last = (training + LIKELIHOOD_IMAGES).min(self.dataset.count);
        let bits_per_dim = self.bits_per_dim(&(training..last).collect::<Vec<_>>(), stop)?;
        let rows = subset(training, LIKELIHOOD_IMAGES, [TRAINING_SUBSET, 1], 0);
        let training_bits_per_dim = self.bits_per_dim(&rows, stop)?;
        let objective = self.objective.clone();
        let frechet_distance = match objective.generative() {
            Some(model) => {
                let samples = self.evaluation_samples(model, stop)?;
                let features = evaluator.reader.run(&self.ctx, &samples, &mut |_| Ok(()))?;
                let samples = Gaussian::fit(&features.features, features.width)?;
                Some(frechet_distance(&samples, &evaluator.training)?)
            }
            None => None,
        };
        Ok(LogEntry::Evaluation {
            step: progress.step,
            seconds: progress.seconds,
            bits_per_dim,
            training_bits_per_dim,
            frechet_distance,
        })
    }

    /// Bits per dimension of these rows of the data set, with the EMA weights. `None` without rows, and
    /// for a model whose likelihood cannot be measured in seconds.
    fn bits_per_dim(&mut self, rows: &[usize], stop: &AtomicBool) -> Result<Option<f64>> {
        let Some(likelihood) = self.objective.bits_per_dim().filter(|_| !rows.is_empty()) else { return Ok(None) };
        let bytes: Vec<u8> = rows.iter().flat_map(|&row| self.dataset.image(row)).copied().collect();
        let labels: Vec<u32> = rows.iter().map(|&row| self.dataset.labels[row]).collect();
        let images = LabeledImages { bytes: &bytes, labels: &labels };
        let request = LikelihoodRequest { weights: EMA, images, stop };
        // Rank 0 measures alone. Its device holds its part of a batch, maybe not the whole.
        let config = Config { batch: self.ranks.part.count, ..self.config.clone() };
        likelihood.measure(&mut self.ctx, &config, &request).map(Some)
    }

    /// Samples of all classes in turn, bytes `[N, C, H, W]`.
    fn evaluation_samples(&mut self, model: &dyn Generative, stop: &AtomicBool) -> Result<Vec<u8>> {
        let (count, batch) = (self.config.evaluate_count, self.ranks.part.count);
        let classes = self.dataset.classes.max(1) as u32;
        let mut bytes = vec![];
        for first in (0..count).step_by(batch as usize) {
            let labels: Vec<u32> = (first..(first + batch).min(count)).map(|k| k % classes).collect();
            let name = "evaluation.samples";
            let request = SampleRequest {
                weights: EMA,
                labels: &labels,
                first,
                name,
                // As before the last step, so that all distances of a run can be compared.
                latents: None,
                snapshots: 0,
                stop,
            };
            let images = model.sample(&mut self.ctx, &self.config, &request)?;
            bytes.extend(images.last().map_or(&[][..], |images| images.bytes()));
        }
        Ok(bytes)
    }
}
