//! Classification: the cross-entropy of an image's class. Noised images with their times train a
//! classifier for guidance, clean images train a feature extractor.

use super::noising::Noising;
use crate::Result;
use crate::checkpoint::SchedulerConfig;
use crate::diffusion::Process;
use crate::gpu::Context;
use crate::metrics::feature_extractor::argmax;
use crate::nn::{Classifier, Conditions, Model, Network, Weights};
use crate::ops::{cross_entropy, randn, random_timesteps};
use crate::tape::{Tape, stream};
use crate::train::objective::{Batch, Loss, Objective, Tables, ValidationMetric};

/// Logits of a batch of validation images, `[B, classes]`.
const LOGITS: &str = "validation.logits";
/// Classes of these images, u32 `[B]`.
const LABELS: &str = "validation.labels";

/// Trains a classifier.
#[derive(Debug)]
pub struct Classify {
    /// The classifier.
    pub network: Classifier,
    /// The process of noised images. `None` for clean images.
    pub noise: Option<Noise>,
    /// Number of classes.
    pub classes: u32,
}

/// The process of a classifier of noised images.
#[derive(Debug)]
pub struct Noise {
    /// The process.
    pub process: Box<dyn Process>,
    /// The scheduler that describes the process in a checkpoint.
    pub scheduler: SchedulerConfig,
    /// The tables of the process.
    pub noising: Noising,
}

impl Objective for Classify {
    fn model(&self) -> &dyn Model {
        &self.network
    }

    fn describe(&self) -> String {
        match &self.noise {
            Some(noise) => format!("classifies noised images: {}", noise.process.describe()),
            None => "classifies clean images".into(),
        }
    }

    fn num_times(&self) -> u32 {
        self.noise.as_ref().map_or(1, |noise| noise.noising.num_times())
    }

    fn tables(&self) -> Tables {
        self.noise.as_ref().map_or(vec![], |noise| noise.noising.named_tables())
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let shape = t.shape(batch.images);
        let time = random_timesteps(t, batch.part, self.num_times());
        let (x, conditions) = match &self.noise {
            None => (batch.images, Conditions::default()),
            Some(Noise { noising, .. }) => {
                let eps = randn(t, stream::NOISE, shape);
                let input = noising.input(t, batch.images, eps, time);
                (input, noising.conditions(t, &self.network, time, None))
            }
        };
        let logits = self.network.forward(t, weights, x, conditions);
        let loss = cross_entropy(t, logits, batch.labels);
        if !weights.training() {
            t.keep(logits, LOGITS);
            t.keep(batch.labels, LABELS);
        }
        Loss { loss, time, weights: None }
    }

    fn scheduler(&self) -> Option<SchedulerConfig> {
        self.noise.as_ref().map(|noise| noise.scheduler.clone())
    }

    fn validation_metric(&self) -> Option<&dyn ValidationMetric> {
        Some(self)
    }
}

impl ValidationMetric for Classify {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    /// The share of images whose most probable class is correct.
    fn measure(&self, ctx: &Context, count: usize) -> Result<f64> {
        let classes = self.classes as usize;
        let logits: Vec<f32> = ctx.read(LOGITS, 0, count * classes)?;
        let labels: Vec<u32> = ctx.read(LABELS, 0, count)?;
        let right = logits.chunks(classes).zip(&labels).filter(|(row, label)| argmax(row) == **label).count();
        Ok(right as f64 / count as f64)
    }
}
