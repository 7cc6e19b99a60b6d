//! Curves over training: losses, and the evaluations during training, over steps on the left and over the time trained
//! on the right.

use super::figure::{self, LogEntry};
use super::history::Axis::{self, Seconds, Steps};
use super::history::History;
use super::run::Run;
use crate::output::Plot;
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
    let of_runs = |points: fn(&History, Axis) -> Vec<(f64, f64)>| {
        move |axis| -> Vec<LogEntry> {
            runs.iter().map(|run| (run.name().into(), points(&run.history, axis))).collect()
        }
    };
    let training = of_runs(|history, axis| history.smoothed(&history.training, axis));
    let validation = of_runs(|history, axis| history.validated(&history.validation, axis));
    let bound = of_runs(|history, axis| history.evaluated(&history.bound, axis));
    let distance = of_runs(|history, axis| history.evaluated(&history.frechet_distance, axis));
    let mut figures = [
        pair("Training loss, smoothed", "loss", training),
        pair("Validation loss", "loss", validation),
        pair("Variational bound on held-back images", "bits a dimension", bound),
        pair("FD of few images to training images", "FD", distance),
    ]
    .concat();
    for run in runs {
        let quarters = |axis| -> Vec<LogEntry> {
            let quarters = run.history.quarters.iter().enumerate();
            quarters.map(|(n, points)| (format!("quarter {}", n + 1), run.history.smoothed(points, axis))).collect()
        };
        // An autoencoder has no time, and all its losses are in the first quarter.
        if run.history.quarters[1..].iter().any(|points| !points.is_empty()) {
            figures.extend(pair(&format!("{}: loss by quarter of t", run.name()), "loss", quarters));
        }
    }
    html! {
        @if !figures.is_empty() {
            (figure::side_by_side(&figures))
            p.note {
                "Losses of different processes are different quantities: compare their course, not their height. "
                "Time is the sum of batch / (images a second) over the steps of the log, validations about included; "
                "evaluations during training bring their own seconds."
            }
        }
    }
}

/// A quantity over steps, and over time if the time is known; nothing without a point.
fn pair(title: &str, quantity: &str, lines: impl Fn(Axis) -> Vec<LogEntry>) -> Vec<Markup> {
    let plot = |axis| {
        let mut lines = lines(axis);
        lines.retain(|(_, points)| !points.is_empty());
        let last = lines.iter().flat_map(|(_, points)| points).map(|point| point.0).fold(0.0, f64::max);
        let (x, unit) = match axis {
            Steps => ("step", 1.0),
            Seconds if last < 600.0 => ("seconds", 1.0),
            Seconds if last < 36_000.0 => ("minutes", 60.0),
            Seconds => ("hours", 3600.0),
        };
        lines.iter_mut().for_each(|(_, points)| points.iter_mut().for_each(|point| point.0 /= unit));
        figure::plot(Plot::new(title, x, quantity), &lines)
    };
    [Steps, Seconds].into_iter().filter_map(plot).collect()
}
