//! Classifying: cross-entropy of the image's class, of noised images with their time (a classifier that guides) or of clean ones.

use crate::Result;
use crate::diffusion::{CheckpointMetadata, Labels, Process, SchedulerConfig, TrainingTables};
use crate::gpu::Context;
use crate::metrics::feature_extractor::argmax;
use crate::nn::{Classifier, Conditions, Model, Network, Weights};
use crate::ops::{cross_entropy, embedding, q_sample, randn, random_timesteps};
use crate::tape::{Shape, Tape, stream};
use crate::train::objective::{Batch, Loss, Objective, Tables};

const SHOWN: &str = "process.shown";
const TIME: &str = "process.time";
/// What validation leaves to be judged.
const LOGITS: &str = "validation.logits";
const LABELS: &str = "validation.labels";

/// Classifying.
#[derive(Debug)]
pub struct Classify {
    /// The classifier.
    pub network: Classifier,
    /// The process whose noised images it sees; `None` for clean ones.
    pub process: Option<(Box<dyn Process>, SchedulerConfig)>,
    /// Number of classes.
    pub classes: u32,
}

impl Classify {
    fn tables(&self) -> Option<TrainingTables> {
        self.process.as_ref().map(|(process, _)| TrainingTables::new(&**process))
    }
}

impl Objective for Classify {
    fn model(&self) -> &dyn Model {
        &self.network
    }

    fn describe(&self) -> String {
        match &self.process {
            Some((process, _)) => format!("classifies noised images: {}", process.describe()),
            None => "classifies clean images".into(),
        }
    }

    fn times(&self) -> u32 {
        self.process.as_ref().map_or(1, |(process, _)| process.training_times().len() as u32)
    }

    fn constants(&self) -> Tables {
        match self.tables() {
            Some(tables) => {
                vec![(SHOWN, tables.shown.concat()), (TIME, self.network.time_table(&tables.times))]
            }
            None => vec![],
        }
    }

    fn draws(&self) -> bool {
        false
    }

    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss {
        let shape = t.shape(batch.images);
        let (count, n) = (shape.dims()[0], self.times());
        let time = random_timesteps(t, count, n);
        let (mut x, mut told) = (batch.images, None);
        if self.process.is_some() {
            let e = randn(t, stream::NOISE, shape);
            let shown = t.named(SHOWN, Shape::f32([n, 2]));
            x = q_sample(t, x, e, shown, time);
            let rows = t.named(TIME, Shape::f32([n, self.network.time_width()]));
            told = Some(embedding(t, time, rows));
        }
        let logits = self.network.forward(t, weights, x, Conditions { time: told, labels: None });
        let loss = cross_entropy(t, logits, batch.labels);
        if !weights.training() {
            t.keep(logits, LOGITS);
            t.keep(batch.labels, LABELS);
        }
        Loss { loss, time, weights: None }
    }

    fn scheduler(&self) -> Option<SchedulerConfig> {
        self.process.as_ref().map(|(_, scheduler)| scheduler.clone())
    }

    fn complete(&self, card: &mut CheckpointMetadata) {
        card.labels = Some(Labels { classes: self.classes, dropout: 0.0 });
    }

    /// The share of the held-back images that are read as what they are.
    fn judge(&self, ctx: &Context, count: usize) -> Result<Option<(&'static str, f64)>> {
        let classes = self.classes as usize;
        let logits: Vec<f32> = ctx.read(LOGITS, 0, count * classes)?;
        let labels: Vec<u32> = ctx.read(LABELS, 0, count)?;
        let right = logits.chunks(classes).zip(&labels).filter(|(row, label)| argmax(row) == **label).count();
        Ok(Some(("accuracy", right as f64 / count as f64)))
    }
}
