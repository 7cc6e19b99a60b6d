//! What a run's log says: losses, and evaluations during training, over steps and over the time trained.
//!
//! The log has no clock. A step takes batch / images_per_second of its line, and the time of a step is the sum up to
//! it. The pace in the log is the wall clock's over the last seconds, so that validations and pictures count about as
//! long as they took; what lies between the sessions of a resumed run does not. Lines before the first measured pace
//! count with that pace. Evaluations during training bring their own seconds.

use crate::output::{jsonl, plot::smooth};
use crate::train::LogEntry;
use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// The log of a run, by what was measured: (step, value). All of it is empty without a log.
#[derive(Default)]
pub(super) struct History {
    pub training: Vec<(f64, f64)>,
    pub quarters: [Vec<(f64, f64)>; 4],
    pub validation: Vec<(f64, f64)>,
    pub bound: Vec<(f64, f64)>,
    pub frechet_distance: Vec<(f64, f64)>,
    /// Seconds trained until a step, by step; empty where the settings, and so the batch, are not there.
    clock: Vec<(f64, f64)>,
    /// The same of evaluations.
    evaluated: Vec<(f64, f64)>,
}

/// What a curve is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Steps,
    Seconds,
}

/// Of `config.toml` only the batch is read: other settings may have had other names when the run was made.
#[derive(Deserialize)]
struct Settings {
    batch: u32,
}

/// So many points of a smoothed curve are drawn at most: more than a plot has room for would only make the page heavy.
const POINTS: usize = 300;

impl History {
    /// Reads `log.jsonl` and the batch in `config.toml` of a run's folder, as far as they are there.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::File`] for settings without a batch.
    pub fn read(folder: &Path) -> Result<History> {
        let (log, settings) = (folder.join("log.jsonl"), folder.join("config.toml"));
        if !log.is_file() {
            return Ok(History::default());
        }
        let lines = jsonl::read(&log)?;
        if !settings.is_file() {
            return Ok(History::of(&lines, None));
        }
        let text = std::fs::read_to_string(&settings).map_err(Error::io(&settings))?;
        let Settings { batch } = toml::from_str(&text).map_err(|error| Error::file(&settings, error.to_string()))?;
        Ok(History::of(&lines, Some(f64::from(batch))))
    }

    fn of(lines: &[LogEntry], batch: Option<f64>) -> History {
        let mut history = History::default();
        let mut paces = Vec::new();
        for line in lines {
            match *line {
                LogEntry::Step { step, loss, images_per_second, loss_by_quarter, .. } => {
                    let step = f64::from(step);
                    history.training.push((step, loss));
                    for (quarter, loss) in history.quarters.iter_mut().zip(loss_by_quarter) {
                        quarter.extend(loss.map(|loss| (step, loss)));
                    }
                    paces.push((step, images_per_second));
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
        history.clock = batch.map_or(Vec::new(), |batch| clock(&paces, batch));
        history
    }

    /// A noisy curve smoothed over a fiftieth of its length, thinned, over steps or seconds.
    pub fn smoothed(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        let smoothed = smooth(points, (points.len() as f64 / 50.0).max(1.0));
        let every = smoothed.len().div_ceil(POINTS).max(1);
        // The last point is one of those that stay.
        let first = (smoothed.len() + every - 1) % every;
        let thinned: Vec<_> = smoothed.into_iter().skip(first).step_by(every).collect();
        over(&thinned, axis, &self.clock)
    }

    /// A curve of few points, over steps or seconds.
    pub fn validated(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        over(points, axis, &self.clock)
    }

    /// A curve of evaluations during training, over steps or seconds.
    pub fn evaluated(&self, points: &[(f64, f64)], axis: Axis) -> Vec<(f64, f64)> {
        over(points, axis, &self.evaluated)
    }
}

/// Seconds trained until each step, from (step, images a second).
fn clock(paces: &[(f64, f64)], batch: f64) -> Vec<(f64, f64)> {
    let measured = |pace: &f64| *pace > 0.0;
    let Some(mut pace) = paces.iter().map(|(_, pace)| *pace).find(measured) else { return Vec::new() };
    let mut seconds = 0.0;
    let mut until = |&(step, measured_pace): &(f64, f64)| {
        pace = Some(measured_pace).filter(measured).unwrap_or(pace);
        seconds += batch / pace;
        (step, seconds)
    };
    paces.iter().map(&mut until).collect()
}

/// Points (step, value) over steps as they are, or over the seconds of the last step that `clock` has until then;
/// points before it are left out.
fn over(points: &[(f64, f64)], axis: Axis, clock: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if axis == Axis::Steps {
        return points.to_vec();
    }
    let seconds = |step: f64| clock[..clock.partition_point(|&(until, _)| until <= step)].last();
    points.iter().filter_map(|&(step, value)| Some((seconds(step)?.1, value))).collect()
}
