//! Several evaluations in one Markdown table, one row per evaluation. The HTML page has more
//! details.

use super::evaluation::{Evaluation, SplitLikelihood};
use crate::metrics::proportion::Proportion;

const COLUMNS: [&str; 10] = [
    "run",
    "steps, training time",
    "images",
    "FD to test (/ reference)",
    "FD to training",
    "precision, recall",
    "class accuracy",
    "class balance p",
    "bits per dimension, test",
    "images/s",
];

/// The table of named evaluations.
pub fn comparison<'a>(evaluations: impl Iterator<Item = (&'a str, &'a Evaluation)>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let header = COLUMNS.map(str::to_string);
    let rows = evaluations.map(|(name, evaluation)| line(&row(name, evaluation)));
    let separator = format!("|{}\n", "---|".repeat(COLUMNS.len()));
    [line(&header), separator].into_iter().chain(rows).collect()
}

fn row(name: &str, evaluation: &Evaluation) -> [String; 10] {
    let Evaluation { target, sampling, quality, classes, likelihood, cost, .. } = evaluation;
    let dash = || "-".to_string();
    // What is not known is 0.
    let seconds = cost.as_ref().map(|cost| cost.training_seconds).filter(|&seconds| seconds > 0.0);
    let minutes = seconds.map_or_else(dash, |seconds| format!("{:.1} min", seconds / 60.0));
    let trained = if target.step > 0 { format!("{}, {minutes}", target.step) } else { dash() };
    let sampler = sampling.describe(target.conditional).map_or(String::new(), |sampler| format!(", {sampler}"));
    let test = likelihood.iter().find(|bits| bits.split == "test");
    [
        format!("`{name}`"),
        trained,
        format!("{}{sampler}", sampling.count),
        format!("{} ({:.1})", quality.distance(), quality.ratio()),
        format!("{:.2}", quality.fd_train),
        format!("{:.2}, {:.2}", quality.precision, quality.recall),
        classes.accuracy.as_ref().map_or_else(dash, percent),
        classes.balance.as_ref().map_or_else(dash, |balance| format!("{:.1e}", balance.p_value)),
        test.map_or_else(dash, bits),
        cost.as_ref().map_or_else(dash, |cost| format!("{:.1}", cost.sampling_images_per_second)),
    ]
}

fn percent(proportion: &Proportion) -> String {
    let [share, low, high] = [proportion.share(), proportion.low, proportion.high].map(|x| 100.0 * x);
    format!("{share:.1} % ({low:.1} to {high:.1})")
}

fn bits(likelihood: &SplitLikelihood) -> String {
    format!("{:.3} ± {:.3}", likelihood.total.value, likelihood.total.error)
}
