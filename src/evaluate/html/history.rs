//! Curves from a run's log: losses and evaluations during training, over steps and over training
//! time. The log separates the seconds of training from the seconds of validations, evaluations and
//! grids.

use crate::Result;
use crate::output::{jsonl, plot::smooth};
use crate::train::LogEntry;
use std::path::Path;

/// The curves of a run as points (step, value). All are empty without a log.
#[derive(Default)]
pub(super) struct History {
    pub training: Vec<(f64, f64)>,
    pub quarters: [Vec<(f64, f64)>; 4],
    pub validation: Vec<(f64, f64)>,
    pub bits_per_dim: Vec<(f64, f64)>,
    pub training_bits_per_dim: Vec<(f64, f64)>,
    pub frechet_distance: Vec<(f64, f64)>,
    /// Points (step, seconds of training until this step).
    clock: Vec<(f64, f64)>,
}

/// The x-axis of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Steps,
    Seconds,
}

/// Largest number of points of a smoothed curve. More would not be visible and only enlarge the
/// page.
const POINTS: usize = 300;

impl History {
    /// Reads `log.jsonl` of a run's folder, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<History> {
        let log = folder.join("log.jsonl");
        let entries = if log.is_file() { jsonl::read(&log)? } else { vec![] };
        Ok(History::new(&entries))
    }

    fn new(entries: &[LogEntry]) -> History {
        let mut history = History::default();
        for entry in entries {
            let step = f64::from(entry.step());
            match *entry {
                LogEntry::Step { seconds, loss, loss_by_quarter, .. } => {
                    history.training.push((step, loss));
                    for (quarter, loss) in history.quarters.iter_mut().zip(loss_by_quarter) {
                        quarter.extend(loss.map(|loss| (step, loss)));
                    }
                    history.clock.push((step, seconds.trained));
                }
                LogEntry::Validation { validation_loss, .. } => history.validation.push((step, validation_loss)),
                LogEntry::Evaluation { bits_per_dim, training_bits_per_dim, frechet_distance, .. } => {
                    history.bits_per_dim.extend(bits_per_dim.map(|bits| (step, bits)));
                    history.training_bits_per_dim.extend(training_bits_per_dim.map(|bits| (step, bits)));
                    history.frechet_distance.extend(frechet_distance.map(|distance| (step, distance)));
                }
            }
        }
        history
    }

    /// A noisy curve, smoothed over a fiftieth of its length and thinned, over steps or seconds.
    pub fn smoothed(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        let smoothed = smooth(points, (points.len() as f64 / 50.0).max(1.0));
        let every = smoothed.len().div_ceil(POINTS).max(1);
        // The last point must remain.
        let first = (smoothed.len() + every - 1) % every;
        let thinned: Vec<_> = smoothed.into_iter().skip(first).step_by(every).collect();
        over(&thinned, axis, &self.clock)
    }

    /// A curve of few points, over steps or seconds.
    pub fn measured(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        over(points, axis, &self.clock)
    }
}

/// Points (step, value) over steps or over seconds. The seconds of a point are the seconds of the
/// last step in `clock` that is not after it. Points before the first step in `clock` are left out.
fn over(points: &[(f64, f64)], axis: Axis, clock: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if axis == Axis::Steps {
        return points.to_vec();
    }
    let seconds = |step: f64| clock[..clock.partition_point(|&(until, _)| until <= step)].last();
    points.iter().filter_map(|&(step, value)| Some((seconds(step)?.1, value))).collect()
}
