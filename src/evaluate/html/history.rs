//! Curves from a run's log: losses and evaluations during training, over steps and over training
//! time.
//!
//! The log has no clock. A step takes batch / images_per_second of its line, and the time of a step is
//! the sum of these up to it. images_per_second is measured by the wall clock over the last seconds, so
//! it includes validations and sample grids approximately. Pauses between the sessions of a resumed run
//! are not included. Lines before the first measured rate use that rate. Evaluations during training log
//! their own seconds.

use crate::output::{jsonl, plot::smooth};
use crate::train::LogEntry;
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// The curves of a run as points (step, value). All are empty without a log.
#[derive(Default)]
pub(super) struct History {
    pub training: Vec<(f64, f64)>,
    pub quarters: [Vec<(f64, f64)>; 4],
    pub validation: Vec<(f64, f64)>,
    pub bound: Vec<(f64, f64)>,
    pub frechet_distance: Vec<(f64, f64)>,
    /// Training seconds by step; empty if the batch size is unknown.
    clock: Vec<(f64, f64)>,
    /// Training seconds of evaluations by step.
    evaluated: Vec<(f64, f64)>,
}

/// The x-axis of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Steps,
    Seconds,
}

/// The part of `config.toml` that is read. Other settings may have had other names when the run was
/// made.
#[derive(Deserialize)]
struct BatchSize {
    batch: u32,
}

/// Largest number of points of a smoothed curve. More would not be visible and only enlarge the page.
const POINTS: usize = 300;

impl History {
    /// Reads `log.jsonl` and the batch size in `config.toml` of a run folder, if they exist.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::File`] for settings without a batch size.
    pub fn read(folder: &Path) -> Result<History> {
        let log = folder.join("log.jsonl");
        let settings = folder.join("config.toml");
        if !log.is_file() {
            return Ok(History::default());
        }
        let lines = jsonl::read(&log)?;
        if !settings.is_file() {
            return Ok(History::new(&lines, None));
        }
        let text = std::fs::read_to_string(&settings).map_err(Error::io(&settings))?;
        let BatchSize { batch } = toml::from_str(&text).map_err(|error| Error::file(&settings, error.to_string()))?;
        Ok(History::new(&lines, Some(f64::from(batch))))
    }

    fn new(lines: &[LogEntry], batch: Option<f64>) -> History {
        let mut history = History::default();
        let mut rates = Vec::new();
        for line in lines {
            match *line {
                LogEntry::Step { step, loss, images_per_second, loss_by_quarter, .. } => {
                    let step = f64::from(step);
                    history.training.push((step, loss));
                    for (quarter, loss) in history.quarters.iter_mut().zip(loss_by_quarter) {
                        quarter.extend(loss.map(|loss| (step, loss)));
                    }
                    rates.push((step, images_per_second));
                }
                LogEntry::Validation { step, validation_loss, .. } => {
                    history.validation.push((f64::from(step), validation_loss));
                }
                LogEntry::Evaluation { step, seconds, bound, frechet_distance } => {
                    let step = f64::from(step);
                    history.evaluated.push((step, seconds));
                    history.bound.extend(bound.map(|bound| (step, bound)));
                    history.frechet_distance.extend(frechet_distance.map(|distance| (step, distance)));
                }
            }
        }
        history.clock = batch.map_or(Vec::new(), |batch| clock(&rates, batch));
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

    /// A curve over steps or seconds.
    pub fn validated(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        over(points, axis, &self.clock)
    }

    /// A curve of evaluations during training, over steps or seconds.
    pub fn evaluated(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        over(points, axis, &self.evaluated)
    }
}

/// Training seconds until each step, from (step, images per second).
fn clock(rates: &[(f64, f64)], batch: f64) -> Vec<(f64, f64)> {
    let measured = |rate: &f64| *rate > 0.0;
    let Some(mut rate) = rates.iter().map(|(_, rate)| *rate).find(measured) else { return Vec::new() };
    let mut seconds = 0.0;
    let mut until = |&(step, measured_rate): &(f64, f64)| {
        rate = Some(measured_rate).filter(measured).unwrap_or(rate);
        seconds += batch / rate;
        (step, seconds)
    };
    rates.iter().map(&mut until).collect()
}

/// Points (step, value) over steps or over seconds. A point's seconds are those of the last step in
/// `clock` up to its step; points before the first one are left out.
fn over(points: &[(f64, f64)], axis: Axis, clock: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if axis == Axis::Steps {
        return points.to_vec();
    }
    let seconds = |step: f64| clock[..clock.partition_point(|&(until, _)| until <= step)].last();
    points.iter().filter_map(|&(step, value)| Some((seconds(step)?.1, value))).collect()
}
