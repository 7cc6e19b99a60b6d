//! Bits per dimension of each split with its terms, and baselines without a model.

use super::number::NumberFormat;
use super::run::EvaluatedRun;
use super::table::{Cell, HtmlTable};
use maud::{Markup, html};

pub(super) fn section(runs: &[EvaluatedRun]) -> Markup {
    let all = || runs.iter().flat_map(|run| &run.evaluation.likelihood);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in all().flat_map(|likelihood| &likelihood.parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let columns = [&["Run", "Split", "Method", "Images", "Bits per dimension"], &names[..]].concat();
    let mut table = HtmlTable::plain(&columns);
    for run in runs {
        for (n, likelihood) in run.evaluation.likelihood.iter().enumerate() {
            let mut cells = vec![
                Cell::text(run.name()),
                Cell::text(&likelihood.split),
                Cell::text(&likelihood.method),
                Cell::number(run.number(&format!("likelihood.{n}.images")), NumberFormat::Count),
                Cell::estimate(run, &format!("likelihood.{n}.total")),
            ];
            cells.extend(names.iter().map(|name| match likelihood.parts.iter().position(|(part, _)| part == name) {
                Some(part) => Cell::estimate(run, &format!("likelihood.{n}.parts.{part}.1")),
                None => Cell::number(None, NumberFormat::Significant),
            }));
            table.row(cells);
        }
    }
    for (value, method) in baselines(runs) {
        let mut cells: Vec<Cell> = columns.iter().map(|_| Cell::empty()).collect();
        for (column, cell) in [Cell::text("baseline"), Cell::text("test"), Cell::text(method)].into_iter().enumerate() {
            cells[column] = cell;
        }
        cells[4] = Cell::reference(value);
        table.foot(cells);
    }
    html! {
        @if all().next().is_some() {
            (table.markup())
            p.note {
                @if names.contains(&"L_T") {
                    "L" sub { "T" } " is the cost of the noise at the last timestep, the sum of L" sub { "t" }
                    " the cost of the denoising steps, and L" sub { "0" } " the cost of the pixels. "
                }
                "Lower is better. A bound is larger than the exact value, so compare only values of the same method."
            }
        }
    }
}

/// Index of the first likelihood of a split.
pub(super) fn first_of(run: &EvaluatedRun, split: &str) -> Option<usize> {
    run.evaluation.likelihood.iter().position(|likelihood| likelihood.split == split)
}

/// Baselines of the data set (bits per dimension, method), if a run has a likelihood.
pub(super) fn baselines(runs: &[EvaluatedRun]) -> &'static [(&'static str, &'static str)] {
    let measured = runs.iter().find(|run| !run.evaluation.likelihood.is_empty());
    measured.map_or(&[], |run| crate::evaluate::baselines::baselines(&run.evaluation.target.dataset))
}
