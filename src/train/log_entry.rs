//! `log.jsonl`: a JSON object for each step, validation and evaluation.

use serde::{Deserialize, Serialize};

/// One line of `log.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogEntry {
    /// A training step.
    Step {
        /// Number of the step, from 1.
        step: u32,
        /// Mean loss of the batch.
        loss: f64,
        /// Norm of the whole gradient before clipping.
        gradient_norm: f64,
        /// Learning rate.
        learning_rate: f64,
        /// Images a second, over the last steps.
        images_per_second: f64,
        /// Mean loss of the images of this batch in each quarter of the time steps; null where there was none.
        loss_by_quarter: [Option<f64>; 4],
    },
    /// A validation.
    Validation {
        /// Number of the step, from 1.
        step: u32,
        /// Mean loss of the held-back images with the averaged weights and fixed noise.
        validation_loss: f64,
        /// The same by quarter of the time steps.
        validation_by_quarter: [Option<f64>; 4],
        /// Share of the held-back images that a classifier reads as what they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
    },
    /// An evaluation of the averaged weights.
    Evaluation {
        /// Number of the step, from 1.
        step: u32,
        /// Seconds trained until then.
        #[serde(rename = "evaluated_seconds")]
        seconds: f64,
        /// Bits a dimension of held-back images; null where they cannot be measured fast.
        bound: Option<f64>,
        /// Frechet distance to training images, in the ruler's features; null for a model that draws nothing.
        frechet_distance: Option<f64>,
    },
}

impl LogEntry {
    /// Number of the step, from 1.
    pub fn number(&self) -> u32 {
        match *self {
            LogEntry::Step { step, .. } | LogEntry::Validation { step, .. } | LogEntry::Evaluation { step, .. } => step,
        }
    }
}

/// Mean loss of the images whose time step lies in each quarter of 0..T.
pub fn by_quarter(losses: &[f32], times: &[f32], timesteps: u32) -> [Option<f64>; 4] {
    let mut sums = [(0.0, 0u32); 4];
    for (&loss, &time) in losses.iter().zip(times) {
        let quarter = (4.0 * time / timesteps as f32) as usize;
        let sum = &mut sums[quarter.min(3)];
        *sum = (sum.0 + f64::from(loss), sum.1 + 1);
    }
    sums.map(|(sum, count)| (count > 0).then(|| sum / f64::from(count)))
}
