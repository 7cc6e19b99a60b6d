//! What training and sampling cost, and what fewer or other sampling steps would give.

use super::figure::{self, LogEntry};
use super::number::Format;
use super::run::Run;
use super::table::{Cell, Table};
use crate::evaluate::evaluation::SweepPoint;
use crate::output::Plot;
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
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

fn costs(runs: &[Run]) -> Table {
    let mut table = Table::plain(&[
        "Run",
        "Device",
        "Training time",
        "Training",
        "A training image",
        "Training memory",
        "One pass of an image",
        "Sampling",
        "Sampling memory",
    ]);
    for (run, cost) in runs.iter().filter_map(|run| run.evaluation.cost.as_ref().map(|cost| (run, cost))) {
        let number = |field: &str, format| Cell::known(run.number(&format!("cost.{field}")), format);
        let rate = Format::Of("images/s");
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(&cost.adapter),
            number("training_seconds", Format::Seconds),
            number("training_images_per_second", rate),
            number("flops_per_training_image", Format::Prefixed("FLOP")),
            number("training_bytes", Format::Prefixed("B")),
            number("flops_per_image", Format::Prefixed("FLOP")),
            number("sampling_images_per_second", rate),
            number("sampling_bytes", Format::Prefixed("B")),
        ]);
    }
    table
}

fn sweep(runs: &[Run]) -> Table {
    let mut table =
        Table::plain(&["Run", "Sampler", "Steps", "Guidance", "Images", "An image", "FD to test", "Class accuracy"]);
    for run in runs {
        for (n, point) in run.evaluation.sweep.iter().enumerate() {
            let number = |field: &str| run.number(&format!("sweep.{n}.{field}"));
            table.row(vec![
                Cell::text(run.name()),
                Cell::text(&point.sampler),
                Cell::known(number("steps"), Format::Count),
                Cell::number(number("guidance"), Format::Written),
                Cell::number(number("count"), Format::Count),
                Cell::known(number("seconds_per_image"), Format::Seconds),
                Cell::number(number("fd_test"), Format::Significant),
                Cell::proportion(run, &format!("sweep.{n}.accuracy")),
            ]);
        }
    }
    table
}

/// Frechet distance over steps; where points differ in guidance, distance and accuracy over guidance too.
fn sweep_figures(run: &Run) -> Vec<Markup> {
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
        steps => format!("{}, {steps} steps", point.sampler),
    };
    let titled = |what: &str, x: &str, y: &str| Plot::new(&format!("{}: {what}", run.name()), x, y);
    let over_steps = titled("FD by steps", "sampling steps", "FD to test").logarithmic_x();
    let over_guidance = titled("FD by guidance", "guidance", "FD to test");
    let read = titled("accuracy by guidance", "guidance", "class accuracy");
    [
        curves(over_steps, points, at_guidance, steps, distance),
        curves(over_guidance, points, at_steps, guidance, distance),
        curves(read, points, at_steps, guidance, accuracy),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A line for each key through its points, from left to right; a key whose points all have one x makes none, and no
/// line makes no plot.
fn curves(
    plot: Plot,
    points: &[SweepPoint],
    key: impl Fn(&SweepPoint) -> String,
    x: impl Fn(&SweepPoint) -> f64,
    y: impl Fn(&SweepPoint) -> Option<f64>,
) -> Option<Markup> {
    let mut lines: Vec<LogEntry> = Vec::new();
    for point in points {
        let (key, Some(y)) = (key(point), y(point)) else { continue };
        let place = (x(point), y);
        match lines.iter_mut().find(|(known, _)| *known == key) {
            Some((_, line)) => line.push(place),
            None => lines.push((key, vec![place])),
        }
    }
    lines.retain(|(_, line)| line.iter().any(|point| point.0 != line[0].0));
    lines.iter_mut().for_each(|(_, line)| line.sort_by(|a, b| a.0.total_cmp(&b.0)));
    figure::plot(plot, &lines)
}
