//! Bits a dimension of each split, with what they are a sum of, beside what compresses the data without a model.

use super::number::Format;
use super::run::Run;
use super::table::{Cell, Table};
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
    let all = || runs.iter().flat_map(|run| &run.evaluation.likelihood);
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in all().flat_map(|likelihood| &likelihood.parts) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let columns = [&["Run", "Split", "What", "Images", "Bits a dimension"], &names[..]].concat();
    let mut table = Table::plain(&columns);
    for run in runs {
        for (n, likelihood) in run.evaluation.likelihood.iter().enumerate() {
            let mut cells = vec![
                Cell::text(run.name()),
                Cell::text(&likelihood.split),
                Cell::text(&likelihood.what),
                Cell::number(run.number(&format!("likelihood.{n}.images")), Format::Count),
                Cell::estimate(run, &format!("likelihood.{n}.total")),
            ];
            cells.extend(names.iter().map(|name| match likelihood.parts.iter().position(|(part, _)| part == name) {
                Some(part) => Cell::estimate(run, &format!("likelihood.{n}.parts.{part}.1")),
                None => Cell::number(None, Format::Significant),
            }));
            table.row(cells);
        }
    }
    for (value, what) in baselines(runs) {
        let mut cells: Vec<Cell> = columns.iter().map(|_| Cell::empty()).collect();
        for (place, cell) in [Cell::text("baseline"), Cell::text("test"), Cell::text(what)].into_iter().enumerate() {
            cells[place] = cell;
        }
        cells[4] = Cell::reference(value);
        table.foot(cells);
    }
    html! {
        @if all().next().is_some() {
            (table.markup())
            p.note {
                "L" sub { "T" } " is what the end of the process costs, the sum of L" sub { "t" } " its steps, and L"
                sub { "0" } " the pixels at last. Less is better; a bound lies above what it bounds, "
                "so numbers of different kinds compare loosely."
            }
        }
    }
}

/// The first likelihood of a split that was measured.
pub(super) fn first_of(run: &Run, split: &str) -> Option<usize> {
    run.evaluation.likelihood.iter().position(|likelihood| likelihood.split == split)
}

/// (bits a dimension, what) to compare with, if there is a likelihood to compare.
pub(super) fn baselines(runs: &[Run]) -> &'static [(&'static str, &'static str)] {
    let measured = runs.iter().find(|run| !run.evaluation.likelihood.is_empty());
    measured.map_or(&[], |run| crate::evaluate::baselines::baselines(&run.evaluation.subject.dataset))
}
