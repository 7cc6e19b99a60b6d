//! Samples of the same seeds side by side, and the process of each run in both directions.

use super::figure;
use super::run::Run;
use maud::{Markup, html};

pub(super) fn samples(runs: &[Run]) -> Markup {
    let grids: Vec<Markup> = runs
        .iter()
        .filter_map(|run| run.grid.as_ref().map(|grid| figure::picture(grid, run.name(), "A grid of samples")))
        .collect();
    let seed = |run: &Run| run.evaluation.sampling.seed;
    let drawn = runs.iter().all(|run| run.evaluation.cost.is_some());
    let same_seed = drawn && runs.windows(2).all(|pair| seed(&pair[0]) == seed(&pair[1]));
    html! {
        (figure::side_by_side(&grids))
        @if grids.len() > 1 && same_seed { p.note { "The same place has the same seed in every grid." } }
    }
}

pub(super) fn strips(runs: &[Run]) -> Markup {
    html! {
        @for run in runs {
            @for (strip, direction) in [(&run.forward, "forward"), (&run.reverse, "reverse")] {
                @if let Some(strip) = strip {
                    @let what = format!("The {direction} process, left to right");
                    (figure::picture(strip, &format!("{}, {direction}", run.name()), &what))
                }
            }
        }
    }
}
