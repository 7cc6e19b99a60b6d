//! The main table, a row for each run; below it what its distances and samples were measured on.

use super::likelihood;
use super::number::Format;
use super::run::Run;
use super::table::Better::{self, Higher, Lower, Neither};
use super::table::{Cell, Table};
use crate::evaluate::Evaluation;
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
    html! {
        (summary(runs).markup())
        p.note {
            @if runs.len() > 1 { "The best of a column is " strong { "emphasised" } " where one direction is better and all were measured alike. " }
            "± is a standard error, and a range under a share its interval of 95 %. "
            "Bits a dimension are the first that were measured of a split; all of them are under "
            a href="#likelihood" { "Likelihood" } "."
        }
        h3 { "Distances in full" }
        (distances(runs).markup())
        h3 { "How the samples were drawn" }
        (sampling(runs).markup())
    }
}

fn summary(runs: &[Run]) -> Table {
    // Seconds compare on one device only, distances of as many images, bits of one kind.
    let lower_where = |agree: bool| if agree { Lower } else { Neither };
    let one_device = agree(runs, |run| run.evaluation.cost.as_ref().map(|cost| cost.adapter.clone()));
    let (distance, share) = comparable_distances(runs);
    let one_kind =
        agree(runs, |run| likelihood::first_of(run, "test").map(|n| run.evaluation.likelihood[n].what.clone()));
    let columns = [
        ("Run", Neither),
        ("Model", Neither),
        ("Process", Neither),
        ("Parameters", Neither),
        ("Steps", Neither),
        ("Training time", Neither),
        ("FD to test", distance),
        ("FD / floor", distance),
        ("KID", Lower),
        ("Precision", share),
        ("Recall", share),
        ("Class accuracy", Higher),
        ("CAS", Higher),
        ("χ² p", Neither),
        ("Bits a dimension, test", lower_where(one_kind)),
        ("What was measured", Neither),
        ("Bits a dimension, train", Neither),
        ("Sampling, an image", lower_where(one_device)),
    ];
    let bits = columns.iter().position(|(title, _)| *title == "Bits a dimension, test").unwrap_or(0);
    let mut table = Table::new(&columns);
    for run in runs {
        let subject = &run.evaluation.subject;
        let test = likelihood::first_of(run, "test");
        let total = |split: Option<usize>| match split {
            Some(n) => Cell::estimate(run, &format!("likelihood.{n}.total")),
            None => Cell::number(None, Format::Significant),
        };
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(&subject.model),
            Cell::text(&subject.process),
            Cell::known(run.number("subject.parameters"), Format::Count),
            Cell::known(run.number("subject.step"), Format::Count),
            Cell::known(run.number("cost.training_seconds"), Format::Seconds),
            Cell::number(run.number("quality.fd_test"), Format::Significant),
            Cell::number(run.quotient("quality.fd_test", "quality.floor"), Format::Significant),
            Cell::estimate(run, "quality.kid"),
            Cell::number(run.number("quality.precision"), Format::Fixed(3)),
            Cell::number(run.number("quality.recall"), Format::Fixed(3)),
            Cell::proportion(run, "classes.accuracy"),
            Cell::proportion(run, "classes.classification_accuracy_score"),
            Cell::number(run.number("classes.balance.p_value"), Format::Significant),
            total(test),
            Cell::text(test.map_or("", |n| &run.evaluation.likelihood[n].what)),
            total(likelihood::first_of(run, "train")),
            Cell::known(run.quotient("sampling.seconds", "sampling.count"), Format::Seconds),
        ]);
    }
    let baselines = likelihood::baselines(runs);
    if !baselines.is_empty() {
        let mut cells: Vec<Cell> = columns.iter().map(|_| Cell::empty()).collect();
        cells[0] = Cell::text("baselines");
        cells[bits] = Cell::reference(html! { @for (value, _) in baselines { div { (value) } } });
        cells[bits + 1] = Cell::text(html! { @for (_, what) in baselines { div { (what) } } });
        table.foot(cells);
    }
    table
}

/// Whether something is the same of all runs.
fn agree<T: PartialEq>(runs: &[Run], of: impl Fn(&Run) -> T) -> bool {
    runs.windows(2).all(|pair| of(&pair[0]) == of(&pair[1]))
}

/// Which of two distances is the better one, and which of two shares of neighbours: none, where they were measured on other numbers of images.
fn comparable_distances(runs: &[Run]) -> (Better, Better) {
    match agree(runs, |run| (run.evaluation.quality.counts, run.evaluation.quality.neighbour_images)) {
        true => (Lower, Higher),
        false => (Neither, Neither),
    }
}

fn distances(runs: &[Run]) -> Table {
    let (distance, share) = comparable_distances(runs);
    let mut table = Table::new(&[
        ("Run", Neither),
        ("FD to test", distance),
        ("FD to train", distance),
        ("FD of train to test (floor)", Neither),
        ("Samples", Neither),
        ("Training images of the floor", Neither),
        ("Training images", Neither),
        ("Test images", Neither),
        ("KID", Lower),
        ("KID of train to test", Neither),
        ("Precision", share),
        ("Recall", share),
        ("k", Neither),
        ("Images on each side", Neither),
    ]);
    for run in runs {
        let number = |field: &str, format| Cell::number(run.number(&format!("quality.{field}")), format);
        table.row(vec![
            Cell::text(run.name()),
            number("fd_test", Format::Significant),
            number("fd_train", Format::Significant),
            number("floor", Format::Significant),
            number("counts.drawn", Format::Count),
            number("counts.floor", Format::Count),
            number("counts.train", Format::Count),
            number("counts.test", Format::Count),
            Cell::estimate(run, "quality.kid"),
            Cell::estimate(run, "quality.kid_floor"),
            number("precision", Format::Fixed(3)),
            number("recall", Format::Fixed(3)),
            number("neighbours", Format::Count),
            number("neighbour_images", Format::Count),
        ]);
    }
    table
}

fn sampling(runs: &[Run]) -> Table {
    let mut table = Table::plain(&["Run", "Classes", "Images", "Sampler", "Steps", "Guidance", "Seed", "Time for all"]);
    for run in runs {
        let number = |field: &str, format| Cell::known(run.number(&format!("sampling.{field}")), format);
        let Evaluation { subject, sampling, .. } = &run.evaluation;
        let told = if subject.conditional && sampling.guidance != 0.0 { "told" } else { "not told" };
        table.row(vec![
            Cell::text(run.name()),
            Cell::text(told),
            number("count", Format::Count),
            Cell::text(&run.evaluation.sampling.sampler),
            number("steps", Format::Count),
            Cell::number(run.number("sampling.guidance"), Format::Written),
            Cell::number(run.number("sampling.seed"), Format::Written),
            number("seconds", Format::Seconds),
        ]);
    }
    table
}
