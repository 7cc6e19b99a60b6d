//! Class counts of unconditional samples, and class accuracy of conditional samples.

use super::number::NumberFormat;
use super::run::EvaluatedRun;
use super::table::{Cell, HtmlTable};
use maud::{Markup, html};

pub(super) fn section(runs: &[EvaluatedRun]) -> Markup {
    let counted: Vec<&EvaluatedRun> = runs.iter().filter(|run| run.evaluation.classes.balance.is_some()).collect();
    let conditional: Vec<&EvaluatedRun> =
        runs.iter().filter(|run| !run.evaluation.classes.accuracy_by_class.is_empty()).collect();
    html! {
        @if !counted.is_empty() {
            (counts(&counted).markup())
            p.note {
                "Below each count is the number expected from the training set's class shares. "
                "A small p means that chance alone rarely gives counts as uneven as these."
            }
        }
        @if !conditional.is_empty() {
            h3 { "Class accuracy by class" }
            (accuracies(&conditional).markup())
        }
    }
}

/// Names of the classes. All runs have the same data set.
fn names(runs: &[&EvaluatedRun]) -> Vec<String> {
    runs.first().map_or(Vec::new(), |run| run.evaluation.classes.names.clone())
}

fn counts(runs: &[&EvaluatedRun]) -> HtmlTable {
    let names = names(runs);
    let columns: Vec<&str> =
        ["Run", "χ²", "Degrees of freedom", "p"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = HtmlTable::plain(&columns);
    for run in runs {
        let number = |field: &str| run.number(&format!("classes.balance.{field}"));
        let count = |class: usize| {
            let expected = number(&format!("expected.{class}"))
                .map(|expected| html! { "of " (expected.show(NumberFormat::Fixed(1))) });
            Cell::number(number(&format!("counts.{class}")), NumberFormat::Count).with_note(expected)
        };
        let mut cells = vec![
            Cell::text(run.name()),
            Cell::number(number("chi_square"), NumberFormat::Significant),
            Cell::number(number("degrees_of_freedom"), NumberFormat::Count),
            Cell::number(number("p_value"), NumberFormat::Significant),
        ];
        cells.extend((0..names.len()).map(count));
        table.row(cells);
    }
    table
}

fn accuracies(runs: &[&EvaluatedRun]) -> HtmlTable {
    let names = names(runs);
    let columns: Vec<&str> = ["Run"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = HtmlTable::plain(&columns);
    for run in runs {
        let mut cells = vec![Cell::text(run.name())];
        cells.extend((0..names.len()).map(|n| Cell::proportion(run, &format!("classes.accuracy_by_class.{n}"))));
        table.row(cells);
    }
    table
}
