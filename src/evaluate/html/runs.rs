//! The main table with one row per run, and tables with the details of distances and sampling.

use super::likelihood;
use super::number::NumberFormat;
use super::run::EvaluatedRun;
use super::table::Better::{self, Higher, Lower, Neither};
use super::table::{Cell, HtmlTable};
use crate::evaluate::Evaluation;
use maud::{Markup, html};

pub(super) fn section(runs: &[EvaluatedRun]) -> Markup {
    html! {
        (summary(runs).markup())
        p.note {
            @if runs.len() > 1 {
                "The best value of a column is " strong { "bold" } " if all runs were measured the same way. "
            }
            "± is a standard error. The range below a percentage is its 95 % confidence interval. "
            "Bits per dimension are the first measurement of a split; all of them are in "
            a href="#likelihood" { "Likelihood" } "."
        }
        h3 { "Distances" }
        (distances(runs).markup())
        h3 { "Sampling" }
        (sampling(runs).markup())
    }
}

fn summary(runs: &[EvaluatedRun]) -> HtmlTable {
    // Times can be compared only on the same device, distances only with equal counts, bits per
    // dimension only by the same method.
    let lower_where = |agree: bool| if agree { Lower } else { Neither };
    let same_device = agree(runs, |run| run.evaluation.cost.as_ref().map(|cost| cost.adapter.clone()));
    let (distance, share) = comparable_distances(runs);
    let same_method =
        agree(runs, |run| likelihood::first_of(run, "test").map(|n| run.evaluation.likelihood[n].method.clone()));
    let columns = [
        ("Run", Neither),
        ("Model", Neither),
        ("Process", Neither),
        ("Parameters", Neither),
        ("Steps", Neither),
        ("Training time", Neither),
        ("FD to test", distance),
        ("FD / reference", distance),
        ("KID", Lower),
        ("Precision", share),
        ("Recall", share),
        ("Class accuracy", Higher),
        ("CAS", share),
        ("CAS of training images", Neither),
        ("χ² p", Neither),
        ("Bits per dimension, test", lower_where(same_method)),
        ("Likelihood method", Neither),
        ("Bits per dimension, train", Neither),
        ("Sampling time per image", lower_where(same_device)),
    ];
    let bits = columns.iter().position(|(title, _)| *title == "Bits per dimension, test").unwrap_or(0);
    let mut table = HtmlTable::new(&columns);
    for run in runs {
        let target = &run.evaluation.target;
        let test = likelihood::first_of(run, "test");
        let total = |split: Option<usize>| match split {
            Some(n) => Cell::estimate(run, &format!("likelihood.{n}.total")),
            None => Cell::number(None, NumberFormat::Significant),
        };
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(&target.model),
            Cell::text(&target.process),
            Cell::known(run.number("target.parameters"), NumberFormat::Count),
            Cell::known(run.number("target.step"), NumberFormat::Count),
            Cell::known(run.number("cost.training_seconds"), NumberFormat::Seconds),
            distance_to_test(run),
            Cell::number(run.quotient("quality.fd_test", "quality.fd_reference"), NumberFormat::Significant),
            Cell::estimate(run, "quality.kid"),
            Cell::number(run.number("quality.precision"), NumberFormat::Fixed(3)),
            Cell::number(run.number("quality.recall"), NumberFormat::Fixed(3)),
            Cell::proportion(run, "classes.accuracy"),
            Cell::proportion(run, "classes.classification_accuracy_score"),
            Cell::proportion(run, "classes.classification_accuracy_reference"),
            Cell::number(run.number("classes.balance.p_value"), NumberFormat::Significant),
            total(test),
            Cell::text(test.map_or("", |n| &run.evaluation.likelihood[n].method)),
            total(likelihood::first_of(run, "train")),
            Cell::known(run.quotient("sampling.seconds", "sampling.count"), NumberFormat::Seconds),
        ]);
    }
    let baselines = likelihood::baselines(runs);
    if !baselines.is_empty() {
        let mut cells: Vec<Cell> = columns.iter().map(|_| Cell::empty()).collect();
        cells[0] = Cell::text("baselines");
        cells[bits] = Cell::reference(html! { @for (value, _) in baselines { div { (value) } } });
        cells[bits + 1] = Cell::text(html! { @for (_, method) in baselines { div { (method) } } });
        table.foot(cells);
    }
    table
}

/// The distance to the test images with its standard error.
fn distance_to_test(run: &EvaluatedRun) -> Cell {
    let error = run.number("quality.fd_test_error");
    let error = error.map(|error| html! { "± " (error.show(NumberFormat::Significant)) });
    Cell::number(run.number("quality.fd_test"), NumberFormat::Significant).with_note(error)
}

/// Whether all runs have the same value.
fn agree<T: PartialEq>(runs: &[EvaluatedRun], value: impl Fn(&EvaluatedRun) -> T) -> bool {
    runs.windows(2).all(|pair| value(&pair[0]) == value(&pair[1]))
}

/// The direction in which distances, and precision and recall, are better. `Neither` if the runs
/// were measured with different numbers of images.
fn comparable_distances(runs: &[EvaluatedRun]) -> (Better, Better) {
    if runs.windows(2).all(|pair| pair[0].same_counts(&pair[1])) { (Lower, Higher) } else { (Neither, Neither) }
}

fn distances(runs: &[EvaluatedRun]) -> HtmlTable {
    let (distance, share) = comparable_distances(runs);
    let mut table = HtmlTable::new(&[
        ("Run", Neither),
        ("FD to test", distance),
        ("FD to train", distance),
        ("Reference FD", Neither),
        ("Samples", Neither),
        ("Training images of the reference", Neither),
        ("Subsets of the reference", Neither),
        ("Training images", Neither),
        ("Test images", Neither),
        ("KID", Lower),
        ("Reference KID", Neither),
        ("Precision", share),
        ("Recall", share),
        ("k", Neither),
        ("Images for precision, recall", Neither),
        ("Mean pixel value", Neither),
        ("Mean pixel value of test images", Neither),
        ("Bright corner pixels", Neither),
        ("Bright corner pixels of test images", Neither),
    ]);
    for run in runs {
        let number = |field: &str, format| Cell::number(run.number(&format!("quality.{field}")), format);
        table.row(vec![
            Cell::text(run.name()),
            distance_to_test(run),
            number("fd_train", NumberFormat::Significant),
            number("fd_reference", NumberFormat::Significant),
            number("counts.samples", NumberFormat::Count),
            number("counts.reference", NumberFormat::Count),
            number("counts.reference_subsets", NumberFormat::Count),
            number("counts.train", NumberFormat::Count),
            number("counts.test", NumberFormat::Count),
            Cell::estimate(run, "quality.kid"),
            Cell::estimate(run, "quality.kid_reference"),
            number("precision", NumberFormat::Fixed(3)),
            number("recall", NumberFormat::Fixed(3)),
            number("neighbors", NumberFormat::Count),
            number("neighbor_images", NumberFormat::Count),
            Cell::number(run.number("brightness.samples.mean"), NumberFormat::Fixed(2)),
            Cell::number(run.number("brightness.test.mean"), NumberFormat::Fixed(2)),
            Cell::number(run.number("brightness.samples.bright_corners"), NumberFormat::Share),
            Cell::number(run.number("brightness.test.bright_corners"), NumberFormat::Share),
        ]);
    }
    table
}

fn sampling(runs: &[EvaluatedRun]) -> HtmlTable {
    let mut table = HtmlTable::plain(&[
        "Run",
        "Classes",
        "Images",
        "Sampler",
        "Steps",
        "Guidance",
        "Other settings",
        "Components of the latents",
        "Seed",
        "Time",
    ]);
    for run in runs {
        let number = |field: &str, format| Cell::known(run.number(&format!("sampling.{field}")), format);
        let Evaluation { target, sampling, .. } = &run.evaluation;
        let classes = if target.conditional && sampling.guidance != 0.0 { "conditional" } else { "unconditional" };
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(classes),
            number("count", NumberFormat::Count),
            Cell::text(&sampling.sampler),
            number("steps", NumberFormat::Count),
            Cell::number(run.number("sampling.guidance"), NumberFormat::Written),
            Cell::text(&sampling.settings),
            Cell::known(run.number("sampling.latent_components"), NumberFormat::Count),
            Cell::number(run.number("sampling.seed"), NumberFormat::Written),
            number("seconds", NumberFormat::Seconds),
        ]);
    }
    table
}
