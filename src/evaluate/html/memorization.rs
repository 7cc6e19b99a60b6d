//! Distances of samples and of test images to their nearest training images. Copies of training
//! images would have smaller distances.

use super::figure;
use super::number::NumberFormat;
use super::run::EvaluatedRun;
use super::table::{Cell, HtmlTable};
use maud::{Markup, html};

pub(super) fn section(runs: &[EvaluatedRun]) -> Markup {
    let quantiles = |space: &str| {
        let columns = ["Run", "Images", "Count", "Min", "1 %", "25 %", "Median", "75 %", "Near duplicates"];
        let mut table = HtmlTable::plain(&columns);
        for run in runs {
            for (set, name) in [("samples", "samples"), ("test", "test")] {
                let path = format!("memorization.{space}.{set}");
                let number = |field: &str, format| Cell::number(run.number(&format!("{path}.{field}")), format);
                let distance = |field: &str| number(field, NumberFormat::Significant);
                let near_duplicates = || Cell::proportion(run, &format!("memorization.{space}.near_duplicates"));
                table.row(vec![
                    Cell::text(run.name()),
                    Cell::text(name),
                    number("count", NumberFormat::Count),
                    distance("min"),
                    distance("percentile_1"),
                    distance("quartile_1"),
                    distance("median"),
                    distance("quartile_3"),
                    if set == "samples" { near_duplicates() } else { Cell::empty() },
                ]);
            }
        }
        table.markup()
    };
    let alt = "Samples above their nearest training images";
    let closest: Vec<Markup> = runs
        .iter()
        .filter_map(|run| run.closest.as_ref().map(|picture| figure::picture(picture, run.name(), alt)))
        .collect();
    html! {
        h3 { "Distance to the nearest training image, in pixels" }
        (quantiles("pixels"))
        h3 { "Distance to the nearest training image, in features" }
        (quantiles("features"))
        p.note {
            "Near duplicates are samples at most as far from a training image as the 1st percentile of test images. "
            "About 1 % is normal; a much larger share suggests memorization."
        }
        @if !closest.is_empty() {
            h3 { "Closest pairs: samples above their nearest training images" }
            (figure::side_by_side(&closest))
        }
    }
}
