//! How often each class was drawn, and how often a class that was asked for is read.

use super::number::Format;
use super::run::Run;
use super::table::{Cell, Table};
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
    let counted: Vec<&Run> = runs.iter().filter(|run| run.evaluation.classes.balance.is_some()).collect();
    let asked: Vec<&Run> = runs.iter().filter(|run| !run.evaluation.classes.accuracy_by_class.is_empty()).collect();
    html! {
        @if !counted.is_empty() {
            (counts(&counted).markup())
            p.note {
                "Under each count stands what the training set's shares would give. "
                "A small p says that chance hardly makes counts as uneven."
            }
        }
        @if !asked.is_empty() {
            h3 { "Class accuracy by class" }
            (accuracies(&asked).markup())
        }
    }
}

/// One data set has the same classes in all runs.
fn names(runs: &[&Run]) -> Vec<String> {
    runs.first().map_or(Vec::new(), |run| run.evaluation.classes.names.clone())
}

fn counts(runs: &[&Run]) -> Table {
    let names = names(runs);
    let columns: Vec<&str> =
        ["Run", "χ²", "Degrees", "p"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::plain(&columns);
    for run in runs {
        let number = |field: &str| run.number(&format!("classes.balance.{field}"));
        let count = |class: usize| {
            let expected =
                number(&format!("expected.{class}")).map(|expected| html! { "of " (expected.show(Format::Fixed(1))) });
            Cell::number(number(&format!("counts.{class}")), Format::Count).beside(expected)
        };
        let mut cells = vec![
            Cell::text(run.name()),
            Cell::number(number("chi_square"), Format::Significant),
            Cell::number(number("degrees"), Format::Count),
            Cell::number(number("p_value"), Format::Significant),
        ];
        cells.extend((0..names.len()).map(count));
        table.row(cells);
    }
    table
}

fn accuracies(runs: &[&Run]) -> Table {
    let names = names(runs);
    let columns: Vec<&str> = ["Run"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::plain(&columns);
    for run in runs {
        let mut cells = vec![Cell::text(run.name())];
        cells.extend((0..names.len()).map(|n| Cell::proportion(run, &format!("classes.accuracy_by_class.{n}"))));
        table.row(cells);
    }
    table
}
