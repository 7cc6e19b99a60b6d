//! `log.jsonl`: one JSON object for each step, validation and evaluation.

use crate::checkpoint::RunSeconds;
use serde::{Deserialize, Deserializer, Serialize};

/// One line of `log.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogEntry {
    /// A training step.
    Step {
        /// Number of finished steps.
        step: u32,
        /// Seconds spent until the losses of this step were read.
        seconds: RunSeconds,
        /// Mean loss of the batch.
        loss: f64,
        /// Norm of the whole gradient before clipping.
        gradient_norm: f64,
        /// Learning rate.
        learning_rate: f64,
        /// Training images per second, averaged over the last steps; 0 before it can be measured.
        images_per_second: f64,
        /// Mean loss of the batch's images in each quarter of the training times; null for a
        /// quarter without images.
        loss_by_quarter: [Option<f64>; 4],
    },
    /// A validation with the EMA weights.
    Validation {
        /// Number of finished steps.
        step: u32,
        /// Seconds spent before this validation.
        seconds: RunSeconds,
        /// Mean loss of the validation images, with fixed noise; null if it is not finite. With
        /// noise levels, the last batch is filled up with the first images.
        #[serde(deserialize_with = "finite_or_nan")]
        validation_loss: f64,
        /// The same for each quarter of the training times.
        validation_by_quarter: [Option<f64>; 4],
        /// The objective's metric on the validation images, such as the accuracy of a classifier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metric: Option<Metric>,
    },
    /// An evaluation with the EMA weights.
    Evaluation {
        /// Number of finished steps.
        step: u32,
        /// Seconds spent before this evaluation.
        seconds: RunSeconds,
        /// Bits per dimension of validation images; null if a measurement would take longer than
        /// seconds.
        bits_per_dim: Option<f64>,
        /// Bits per dimension of as many training images; null in logs of earlier versions, too.
        #[serde(default)]
        training_bits_per_dim: Option<f64>,
        /// Frechet distance from samples to training images, in features of the feature extractor.
        frechet_distance: Option<f64>,
    },
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Its name, such as `accuracy`.
    pub name: String,
    /// Its value; null if it is not finite.
    #[serde(deserialize_with = "finite_or_nan")]
    pub value: f64,
}

/// JSON has no NaN and no infinity: they are written as null, and read as NaN.
fn finite_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl LogEntry {
    /// Number of finished steps.
    pub fn step(&self) -> u32 {
        match *self {
            LogEntry::Step { step, .. } | LogEntry::Validation { step, .. } | LogEntry::Evaluation { step, .. } => step,
        }
    }

    /// The entry's values by name, as TensorBoard shows them.
    pub(super) fn scalars(&self) -> Vec<(&str, f64)> {
        match self {
            LogEntry::Step { loss, gradient_norm, learning_rate, .. } => {
                vec![("loss", *loss), ("gradient_norm", *gradient_norm), ("learning_rate", *learning_rate)]
            }
            LogEntry::Validation { validation_loss, metric, .. } => {
                let metric = metric.iter().map(|metric| (&*metric.name, metric.value));
                [("validation_loss", *validation_loss)].into_iter().chain(metric).collect()
            }
            LogEntry::Evaluation { bits_per_dim, training_bits_per_dim, frechet_distance, .. } => {
                let named = [
                    ("bits_per_dim", bits_per_dim),
                    ("training_bits_per_dim", training_bits_per_dim),
                    ("frechet_distance", frechet_distance),
                ];
                named.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
            }
        }
    }

    /// One line for the user; `None` for a training step.
    pub(super) fn describe(&self) -> Option<String> {
        let what = match self {
            LogEntry::Step { .. } => return None,
            LogEntry::Validation { validation_loss, metric, .. } => {
                let metric = metric.as_ref().map(|metric| format!(", {} {:.4}", metric.name, metric.value));
                format!("validation loss {validation_loss:.4}{}", metric.unwrap_or_default())
            }
            LogEntry::Evaluation { bits_per_dim, frechet_distance, .. } => {
                let bits = bits_per_dim.map(|bits| format!("{bits:.3} bits per dimension"));
                let distance = frechet_distance.map(|distance| format!("Frechet distance {distance:.3}"));
                bits.into_iter().chain(distance).collect::<Vec<_>>().join(", ")
            }
        };
        Some(format!("step {}: {what} (EMA weights)", self.step()))
    }
}

/// Mean loss of the images in each quarter of the training times 0..`num_times`.
pub fn by_quarter(losses: &[f32], times: &[f32], num_times: u32) -> [Option<f64>; 4] {
    let mut sums = [(0.0, 0u32); 4];
    for (&loss, &time) in losses.iter().zip(times) {
        let quarter = (4.0 * time / num_times as f32) as usize;
        let sum = &mut sums[quarter.min(3)];
        *sum = (sum.0 + f64::from(loss), sum.1 + 1);
    }
    sums.map(|(sum, count)| (count > 0).then(|| sum / f64::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_entries_are_read_as_what_was_written() {
        let seconds = RunSeconds { trained: 1.5, evaluated: 0.25, sampled: 0.0 };
        let metric = Some(Metric { name: "accuracy".into(), value: 0.5 });
        let quarters = [Some(1.0), None, None, Some(2.0)];
        let entries = [
            LogEntry::Step {
                step: 1,
                seconds,
                loss: 0.5,
                gradient_norm: 2.0,
                learning_rate: 1e-3,
                images_per_second: 0.0,
                loss_by_quarter: quarters,
            },
            LogEntry::Validation { step: 2, seconds, validation_loss: 0.5, validation_by_quarter: quarters, metric },
            LogEntry::Evaluation {
                step: 3,
                seconds,
                bits_per_dim: None,
                training_bits_per_dim: None,
                frechet_distance: Some(9.0),
            },
        ];
        for entry in entries {
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<LogEntry>(&text).unwrap(), entry, "{text}");
        }
        let validation_by_quarter = [None, Some(f64::NAN), None, None];
        let metric = Some(Metric { name: "accuracy".into(), value: f64::INFINITY });
        let diverged =
            LogEntry::Validation { step: 2, seconds, validation_loss: f64::NAN, validation_by_quarter, metric };
        let text = serde_json::to_string(&diverged).unwrap();
        let read = serde_json::from_str(&text).unwrap();
        assert!(
            matches!(read, LogEntry::Validation { step: 2, validation_loss, metric: Some(Metric { value, .. }), .. }
                if validation_loss.is_nan() && value.is_nan()),
            "{text}"
        );
    }
}
