//! How far samples lie from the training images, beside how far test images lie: copies would lie nearer.

use super::figure;
use super::number::Format;
use super::run::Run;
use super::table::{Cell, Table};
use maud::{Markup, html};

pub(super) fn section(runs: &[Run]) -> Markup {
    let quantiles = |space: &str| {
        let columns = ["Run", "Images", "Number", "Least", "1 %", "25 %", "Median", "75 %", "Suspicious"];
        let mut table = Table::plain(&columns);
        for run in runs {
            for (set, name) in [("drawn", "samples"), ("test", "test")] {
                let path = format!("memorisation.{space}.{set}");
                let number = |field: &str, format| Cell::number(run.number(&format!("{path}.{field}")), format);
                let distance = |field: &str| number(field, Format::Significant);
                let near_duplicates = || Cell::proportion(run, &format!("memorisation.{space}.suspicious"));
                table.row(vec![
                    Cell::text(run.name()),
                    Cell::text(name),
                    number("count", Format::Count),
                    distance("least"),
                    distance("percentile_1"),
                    distance("quartile_1"),
                    distance("median"),
                    distance("quartile_3"),
                    if set == "drawn" { near_duplicates() } else { Cell::empty() },
                ]);
            }
        }
        table.markup()
    };
    let what = "Pairs: samples above the training images nearest to them";
    let closest: Vec<Markup> = runs
        .iter()
        .filter_map(|run| run.closest.as_ref().map(|picture| figure::picture(picture, run.name(), what)))
        .collect();
    html! {
        h3 { "Distance to the nearest training image, in pixels" }
        (quantiles("pixels"))
        h3 { "The same in features" }
        (quantiles("features"))
        p.note {
            "Suspicious are samples that lie nearer than all but one in a hundred test images. "
            "About 1 % would be as for test images; far more would hint at copies."
        }
        @if !closest.is_empty() {
            h3 { "Closest pairs: each sample above its nearest training image" }
            (figure::side_by_side(&closest))
        }
    }
}
