//! Grids of samples side by side, and the forward and reverse process of each run.

use super::figure;
use super::run::EvaluatedRun;
use maud::{Markup, html};

pub(super) fn samples(runs: &[EvaluatedRun]) -> Markup {
    let grids: Vec<Markup> = runs
        .iter()
        .filter_map(|run| run.grid.as_ref().map(|grid| figure::picture(grid, run.name(), "A grid of samples")))
        .collect();
    // Autoencoders have other noise, and the classes decide which images a grid has.
    let order = |run: &EvaluatedRun| {
        let (target, sampling) = (&run.evaluation.target, &run.evaluation.sampling);
        (sampling.seed, sampling.count, target.conditional && sampling.guidance != 0.0)
    };
    let sampled = runs.iter().all(|run| run.evaluation.sampling.sampler != "none");
    let same_noise = sampled && runs.windows(2).all(|pair| order(&pair[0]) == order(&pair[1]));
    html! {
        (figure::side_by_side(&grids))
        @if grids.len() > 1 && same_noise { p.note { "All grids use the same seed: equal positions start from equal noise." } }
    }
}

pub(super) fn strips(runs: &[EvaluatedRun]) -> Markup {
    html! {
        @for run in EvaluatedRun::first_of_each(runs) {
            @for (strip, direction) in [(&run.forward, "forward"), (&run.reverse, "reverse")] {
                @if let Some(strip) = strip {
                    @let alt = format!("The {direction} process, left to right");
                    (figure::picture(strip, &format!("{}, {direction}", run.evaluation.target.name), &alt))
                }
            }
        }
    }
}
