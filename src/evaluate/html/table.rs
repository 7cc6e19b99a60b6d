//! A table of runs. It shows numbers with errors and intervals, a dash for a missing number, and
//! the best value of each column in bold.

use super::number::{Number, NumberFormat};
use super::run::EvaluatedRun;
use maud::{Markup, Render, html};

/// The direction in which values of a column are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
    /// Neither: no value is in bold.
    Neither,
}

/// A table that is filled row by row.
pub(super) struct HtmlTable {
    columns: Vec<(String, Better)>,
    rows: Vec<Vec<Cell>>,
    foot: Vec<Vec<Cell>>,
}

/// A cell of a table.
pub(super) struct Cell {
    content: Option<Markup>,
    /// The value to compare within the column.
    value: Option<f64>,
    numeric: bool,
}

impl HtmlTable {
    /// An empty table. Its first column is the name of the row.
    pub fn new(columns: &[(&str, Better)]) -> HtmlTable {
        let columns = columns.iter().map(|&(title, better)| (title.to_string(), better)).collect();
        HtmlTable { columns, rows: Vec::new(), foot: Vec::new() }
    }

    /// A table without best values.
    pub fn plain(columns: &[&str]) -> HtmlTable {
        HtmlTable::new(&columns.iter().map(|&title| (title, Better::Neither)).collect::<Vec<_>>())
    }

    /// Adds a row with one cell per column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds a reference row below all others.
    pub fn foot(&mut self, cells: Vec<Cell>) {
        self.foot.push(cells);
    }

    /// The table in a box that scrolls on a narrow screen; nothing if there are no rows.
    pub fn markup(&self) -> Markup {
        let best: Vec<Option<f64>> = (0..self.columns.len()).map(|column| self.best(column)).collect();
        let row = |cells: &[Cell], best: &[Option<f64>], repeated: bool| {
            html! {
                tr {
                    @for (n, cell) in cells.iter().enumerate() {
                        @let is_best = cell.value.is_some() && cell.value == best.get(n).copied().flatten();
                        @if n == 0 {
                            th scope="row" .repeated[repeated] { (cell.shown()) }
                        } @else {
                            td.numeric[cell.numeric].best[is_best] { (cell.shown()) }
                        }
                    }
                }
            }
        };
        // If several rows in sequence belong to one run, only its first name is prominent.
        let repeated = |n: usize| n > 0 && self.rows[n][0].shown().0 == self.rows[n - 1][0].shown().0;
        html! {
            @if !self.rows.is_empty() {
                // It is focusable so that the arrow keys can scroll it.
                div.scroll tabindex="0" {
                    table {
                        thead { tr { @for (n, (title, _)) in self.columns.iter().enumerate() {
                            th scope="col" .numeric[self.is_numeric(n)] { (title) }
                        } } }
                        tbody { @for (n, cells) in self.rows.iter().enumerate() { (row(cells, &best, repeated(n))) } }
                        @if !self.foot.is_empty() { tfoot { @for cells in &self.foot { (row(cells, &[], false)) } } }
                    }
                }
            }
        }
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|cells| cells.get(column).is_some_and(|cell| cell.numeric))
    }

    /// The best value of a column, if the column has an order and at least two values.
    fn best(&self, column: usize) -> Option<f64> {
        let values: Vec<f64> = self.rows.iter().filter_map(|cells| cells.get(column)?.value).collect();
        let best = match self.columns[column].1 {
            Better::Lower => values.iter().copied().reduce(f64::min),
            Better::Higher => values.iter().copied().reduce(f64::max),
            Better::Neither => None,
        };
        best.filter(|_| values.len() > 1)
    }
}

impl Cell {
    /// A cell with text.
    pub fn text(content: impl Render) -> Cell {
        Cell { content: Some(content.render()), value: None, numeric: false }
    }

    /// A number that does not belong to a run.
    pub fn reference(content: impl Render) -> Cell {
        Cell { numeric: true, ..Cell::text(content) }
    }

    /// An empty cell without a dash.
    pub fn empty() -> Cell {
        Cell { content: Some(html! {}), value: None, numeric: true }
    }

    /// A number, or a dash.
    pub fn number(number: Option<Number>, format: NumberFormat) -> Cell {
        let content = number.as_ref().map(|number| number.show(format));
        Cell { content, value: number.map(|number| number.value), numeric: true }
    }

    /// A number for which 0 means unknown: 0 becomes a dash.
    pub fn known(number: Option<Number>, format: NumberFormat) -> Cell {
        Cell::number(number.filter(|number| number.value > 0.0), format)
    }

    /// A mean with its standard error.
    pub fn estimate(run: &EvaluatedRun, field: &str) -> Cell {
        let value = run.number(&format!("{field}.value"));
        let error = run.number(&format!("{field}.error"));
        let both = value.as_ref().zip(error.as_ref());
        let format = both
            .map_or(NumberFormat::Significant, |(value, error)| NumberFormat::for_estimate(value.value, error.value));
        Cell::number(value, format).with_note(error.map(|error| html! { "± " (error.show(format)) }))
    }

    /// A proportion with its interval.
    pub fn proportion(run: &EvaluatedRun, field: &str) -> Cell {
        let end = |name: &str| run.number(&format!("{field}.{name}")).map(|end| end.show(NumberFormat::Share));
        let share = run.quotient(&format!("{field}.successes"), &format!("{field}.count"));
        let interval = end("low").zip(end("high")).map(|(low, high)| html! { (low) " – " (high) });
        Cell::number(share, NumberFormat::Share).with_note(interval)
    }

    /// Adds a smaller note below the content.
    pub fn with_note(self, small: Option<Markup>) -> Cell {
        let content = match (self.content, small) {
            (Some(content), Some(small)) => Some(html! { (content) " " small { (small) } }),
            (content, _) => content,
        };
        Cell { content, ..self }
    }

    fn shown(&self) -> Markup {
        html! { @match &self.content { Some(content) => (content), None => span.none { "–" } } }
    }
}
