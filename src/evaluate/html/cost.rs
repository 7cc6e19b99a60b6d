//! Cost of training and sampling, and quality by sampler and number of steps.

use super::figure::{self, Curve};
use super::number::NumberFormat;
use super::run::EvaluatedRun;
use super::table::{Cell, HtmlTable};
use crate::evaluate::evaluation::SweepPoint;
use crate::output::{Plot, counted};
use maud::{Markup, html};

pub(super) fn section(runs: &[EvaluatedRun]) -> Markup {
    let figures: Vec<Markup> = runs.iter().flat_map(sweep_figures).collect();
    html! {
        (costs(runs).markup())
        @if runs.iter().any(|run| !run.evaluation.sweep.is_empty()) {
            h3 { "Quality by sampler, steps and guidance" }
            (sweep(runs).markup())
            (figure::side_by_side(&figures))
        }
    }
}

fn costs(runs: &[EvaluatedRun]) -> HtmlTable {
    let mut table = HtmlTable::plain(&[
        "Run",
        "Device",
        "Training time",
        "Training speed",
        "Training, per image",
        "Training memory",
        "Forward pass, per image",
        "Sampling speed",
        "Sampling memory",
    ]);
    for (run, cost) in runs.iter().filter_map(|run| run.evaluation.cost.as_ref().map(|cost| (run, cost))) {
        let number = |field: &str, format| Cell::known(run.number(&format!("cost.{field}")), format);
        let rate = NumberFormat::Unit("images/s");
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(&cost.adapter),
            number("training_seconds", NumberFormat::Seconds),
            number("training_images_per_second", rate),
            number("flops_per_training_image", NumberFormat::Prefixed("FLOP")),
            number("training_bytes", NumberFormat::Prefixed("B")),
            number("flops_per_image", NumberFormat::Prefixed("FLOP")),
            number("sampling_images_per_second", rate),
            number("sampling_bytes", NumberFormat::Prefixed("B")),
        ]);
    }
    table
}

fn sweep(runs: &[EvaluatedRun]) -> HtmlTable {
    let mut table = HtmlTable::plain(&[
        "Run",
        "Sampler",
        "Steps",
        "Guidance",
        "Images",
        "Time per image",
        "FD to test",
        "Class accuracy",
    ]);
    for run in runs {
        for (n, point) in run.evaluation.sweep.iter().enumerate() {
            let number = |field: &str| run.number(&format!("sweep.{n}.{field}"));
            table.row(vec![
                Cell::text(run.name()),
                Cell::text(&point.sampler),
                Cell::known(number("steps"), NumberFormat::Count),
                Cell::number(number("guidance"), NumberFormat::Written),
                Cell::number(number("count"), NumberFormat::Count),
                Cell::known(number("seconds_per_image"), NumberFormat::Seconds),
                Cell::number(number("fd_test"), NumberFormat::Significant),
                Cell::proportion(run, &format!("sweep.{n}.accuracy")),
            ]);
        }
    }
    table
}

/// Frechet distance over steps. If the points differ in guidance, also distance and accuracy over
/// guidance.
fn sweep_figures(run: &EvaluatedRun) -> Vec<Markup> {
    let points = &run.evaluation.sweep;
    let steps = |point: &SweepPoint| f64::from(point.steps);
    let guidance = |point: &SweepPoint| f64::from(point.guidance);
    let distance = |point: &SweepPoint| Some(point.fd_test);
    let accuracy = |point: &SweepPoint| {
        point.accuracy.filter(|share| share.count > 0).map(|share| f64::from(share.successes) / f64::from(share.count))
    };
    let varies = points.windows(2).any(|pair| pair[0].guidance != pair[1].guidance);
    let at_guidance = |point: &SweepPoint| {
        if varies { format!("{}, guidance {}", point.sampler, point.guidance) } else { point.sampler.clone() }
    };
    let at_steps = |point: &SweepPoint| match point.steps {
        0 => point.sampler.clone(),
        steps => format!("{}, {}", point.sampler, counted(steps, "step")),
    };
    let titled = |what: &str, x: &str, y: &str| Plot::new(&format!("{}: {what}", run.name()), x, y);
    let over_steps = titled("FD by steps", "sampling steps", "FD to test").logarithmic_x();
    let over_guidance = titled("FD by guidance", "guidance", "FD to test");
    let accuracies = titled("accuracy by guidance", "guidance", "class accuracy");
    [
        curves(over_steps, points, at_guidance, steps, distance),
        curves(over_guidance, points, at_steps, guidance, distance),
        curves(accuracies, points, at_steps, guidance, accuracy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A plot with one curve per key, from left to right. A key whose points all have the same x is
/// left out. `None` if no curve remains.
fn curves(
    plot: Plot,
    points: &[SweepPoint],
    key: impl Fn(&SweepPoint) -> String,
    x: impl Fn(&SweepPoint) -> f64,
    y: impl Fn(&SweepPoint) -> Option<f64>,
) -> Option<Markup> {
    let mut curves: Vec<Curve> = Vec::new();
    for point in points {
        let (key, Some(y)) = (key(point), y(point)) else { continue };
        let position = (x(point), y);
        match curves.iter_mut().find(|(known, _)| *known == key) {
            Some((_, curve)) => curve.push(position),
            None => curves.push((key, vec![position])),
        }
    }
    curves.retain(|(_, curve)| curve.iter().any(|point| point.0 != curve[0].0));
    curves.iter_mut().for_each(|(_, curve)| curve.sort_by(|a, b| a.0.total_cmp(&b.0)));
    figure::plot(plot, &curves)
}
