//! A table of runs: numbers with their errors and intervals, a dash where there is none, and the best of a column
//! emphasised.

use super::number::{Format, Number};
use super::run::Run;
use maud::{Markup, Render, html};

/// Which of two values of a column is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
    /// Neither: nothing is emphasised.
    Neither,
}

/// A table in the making: its columns, then row by row.
pub(super) struct Table {
    columns: Vec<(String, Better)>,
    rows: Vec<Vec<Cell>>,
    foot: Vec<Vec<Cell>>,
}

/// What stands in a place of a table.
pub(super) struct Cell {
    content: Option<Markup>,
    /// What the column is compared by.
    value: Option<f64>,
    numeric: bool,
}

impl Table {
    /// An empty table. Its first column names what the row is about.
    pub fn new(columns: &[(&str, Better)]) -> Table {
        let columns = columns.iter().map(|&(title, better)| (title.to_string(), better)).collect();
        Table { columns, rows: Vec::new(), foot: Vec::new() }
    }

    /// A table in whose columns nothing is better than anything.
    pub fn plain(columns: &[&str]) -> Table {
        Table::new(&columns.iter().map(|&title| (title, Better::Neither)).collect::<Vec<_>>())
    }

    /// Adds a row with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds a row below the others: what they are compared with.
    pub fn foot(&mut self, cells: Vec<Cell>) {
        self.foot.push(cells);
    }

    /// The table, in a box of its own that scrolls on a narrow screen; nothing without a row.
    pub fn markup(&self) -> Markup {
        let best: Vec<Option<f64>> = (0..self.columns.len()).map(|column| self.best(column)).collect();
        let row = |cells: &[Cell], best: &[Option<f64>], again: bool| {
            html! {
                tr {
                    @for (n, cell) in cells.iter().enumerate() {
                        @let is_best = cell.value.is_some() && cell.value == best.get(n).copied().flatten();
                        @if n == 0 {
                            th scope="row" .again[again] { (cell.shown()) }
                        } @else {
                            td.numeric[cell.numeric].best[is_best] { (cell.shown()) }
                        }
                    }
                }
            }
        };
        // Where many rows are of one run, its name steps back after the first.
        let again = |n: usize| n > 0 && self.rows[n][0].shown().0 == self.rows[n - 1][0].shown().0;
        html! {
            @if !self.rows.is_empty() {
                // Focusable, so that the arrow keys scroll it too.
                div.scroll tabindex="0" {
                    table {
                        thead { tr { @for (n, (title, _)) in self.columns.iter().enumerate() {
                            th scope="col" .numeric[self.is_numeric(n)] { (title) }
                        } } }
                        tbody { @for (n, cells) in self.rows.iter().enumerate() { (row(cells, &best, again(n))) } }
                        @if !self.foot.is_empty() { tfoot { @for cells in &self.foot { (row(cells, &[], false)) } } }
                    }
                }
            }
        }
    }

    fn is_numeric(&self, column: usize) -> bool {
        self.rows.iter().any(|cells| cells.get(column).is_some_and(|cell| cell.numeric))
    }

    /// The best value of a column: where better means something, and there is something to be better than.
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
    /// Words.
    pub fn text(content: impl Render) -> Cell {
        Cell { content: Some(content.render()), value: None, numeric: false }
    }

    /// Of a column of numbers, but no run's own.
    pub fn reference(content: impl Render) -> Cell {
        Cell { numeric: true, ..Cell::text(content) }
    }

    /// Left empty on purpose, without a dash.
    pub fn empty() -> Cell {
        Cell { content: Some(html! {}), value: None, numeric: true }
    }

    /// A number; a dash without.
    pub fn number(number: Option<Number>, format: Format) -> Cell {
        let content = number.as_ref().map(|number| number.show(format));
        Cell { content, value: number.map(|number| number.value), numeric: true }
    }

    /// A number that is written as 0 where it is not known: a dash then.
    pub fn known(number: Option<Number>, format: Format) -> Cell {
        Cell::number(number.filter(|number| number.value > 0.0), format)
    }

    /// A mean with its standard error.
    pub fn estimate(run: &Run, field: &str) -> Cell {
        let (value, error) = (run.number(&format!("{field}.value")), run.number(&format!("{field}.error")));
        let both = value.as_ref().zip(error.as_ref());
        let format = both.map_or(Format::Significant, |(value, error)| Format::of_estimate(value.value, error.value));
        Cell::number(value, format).beside(error.map(|error| html! { "± " (error.show(format)) }))
    }

    /// A share with its interval.
    pub fn proportion(run: &Run, field: &str) -> Cell {
        let end = |name: &str| run.number(&format!("{field}.{name}")).map(|end| end.show(Format::Share));
        let share = run.quotient(&format!("{field}.successes"), &format!("{field}.count"));
        let interval = end("low").zip(end("high")).map(|(low, high)| html! { (low) " – " (high) });
        Cell::number(share, Format::Share).beside(interval)
    }

    /// With something smaller under it.
    pub fn beside(self, small: Option<Markup>) -> Cell {
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
