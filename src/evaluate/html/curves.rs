//! Curves of training: losses and evaluations, over steps (left) and over time (right).

use super::figure::{self, Curve};
use super::history::Axis::{self, Seconds, Steps};
use super::history::History;
use super::run::EvaluatedRun;
use crate::output::Plot;
use maud::{Markup, html};

pub(super) fn section(evaluations: &[EvaluatedRun]) -> Markup {
    let runs = &EvaluatedRun::first_of_each(evaluations);
    let name = |run: &EvaluatedRun| run.evaluation.target.name.clone();
    let per_run = |points: fn(&History, Axis) -> Vec<(f64, f64)>| {
        move |axis| -> Vec<Curve> { runs.iter().map(|run| (name(run), points(&run.history, axis))).collect() }
    };
    let training = per_run(|history, axis| history.smoothed(&history.training, axis));
    let validation = per_run(|history, axis| history.measured(&history.validation, axis));
    // Both splits of all runs in one plot.
    let bits = |axis| -> Vec<Curve> {
        let of_run = |run: &&EvaluatedRun| {
            let History { bits_per_dim, training_bits_per_dim, .. } = &run.history;
            [("validation", bits_per_dim), ("training", training_bits_per_dim)]
                .map(|(split, points)| (format!("{}, {split} images", name(run)), run.history.measured(points, axis)))
        };
        runs.iter().flat_map(of_run).collect()
    };
    let distance = per_run(|history, axis| history.measured(&history.frechet_distance, axis));
    let mut figures = [
        pair("Training loss, smoothed", "loss", training),
        pair("Validation loss", "loss", validation),
        pair("Bits per dimension", "bits per dimension", bits),
        pair("FD of few samples to training images", "FD", distance),
    ]
    .concat();
    for run in runs {
        let quarters = |axis| -> Vec<Curve> {
            let quarters = run.history.quarters.iter().enumerate();
            quarters.map(|(n, points)| (format!("quarter {}", n + 1), run.history.smoothed(points, axis))).collect()
        };
        // An autoencoder has no diffusion time: all its losses are in the first quarter.
        if run.history.quarters[1..].iter().any(|points| !points.is_empty()) {
            figures.extend(pair(&format!("{}: loss by quarter of t", name(run)), "loss", quarters));
        }
    }
    html! {
        @if !figures.is_empty() {
            (figure::side_by_side(&figures))
            p.note {
                "Losses of different processes are different quantities: compare their shapes, not their values. "
                "Time counts training steps only, without validations, evaluations and grids of samples."
            }
        }
    }
}

/// A quantity over steps, and over time if the time is known; nothing if there are no points.
fn pair(title: &str, quantity: &str, curves: impl Fn(Axis) -> Vec<Curve>) -> Vec<Markup> {
    let plot = |axis| {
        let mut curves = curves(axis);
        curves.retain(|(_, points)| !points.is_empty());
        let last = curves.iter().flat_map(|(_, points)| points).map(|point| point.0).fold(0.0, f64::max);
        let (x, unit) = match axis {
            Steps => ("step", 1.0),
            Seconds if last < 600.0 => ("seconds", 1.0),
            Seconds if last < 36_000.0 => ("minutes", 60.0),
            Seconds => ("hours", 3600.0),
        };
        curves.iter_mut().for_each(|(_, points)| points.iter_mut().for_each(|point| point.0 /= unit));
        figure::plot(Plot::new(title, x, quantity), &curves)
    };
    [Steps, Seconds].into_iter().filter_map(plot).collect()
}
