//! Several evaluations in one table of Markdown: a row for each, for a terminal or a document. The page has the rest.

use super::evaluation::{Evaluation, Likelihood};
use crate::metrics::balance::Proportion;

const HEADS: [&str; 9] = [
    "run",
    "steps, time",
    "images",
    "FD to test (of its floor)",
    "precision, recall",
    "read as asked",
    "balance: p",
    "bits a dimension, test",
    "images/s",
];

/// The table of named evaluations.
pub fn comparison<'a>(evaluations: impl Iterator<Item = (&'a str, &'a Evaluation)>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads = HEADS.map(str::to_string);
    let rows = evaluations.map(|(name, evaluation)| line(&row(name, evaluation)));
    let rule = format!("|{}\n", "---|".repeat(HEADS.len()));
    [line(&heads), rule].into_iter().chain(rows).collect()
}

fn row(name: &str, evaluation: &Evaluation) -> [String; 9] {
    let Evaluation { subject, sampling, quality, classes, likelihood, cost, .. } = evaluation;
    let dash = || "-".to_string();
    let minutes = cost.as_ref().map_or_else(dash, |cost| format!("{:.1} min", cost.training_seconds / 60.0));
    let how = match sampling.sampler.as_str() {
        "none" => String::new(),
        sampler => format!(", {sampler} {}, guidance {}", sampling.steps, sampling.guidance),
    };
    let test = likelihood.iter().find(|bits| bits.split == "test");
    [
        format!("`{name}`"),
        format!("{}, {minutes}", subject.step),
        format!("{}{how}", sampling.count),
        format!("{:.2} ({:.1})", quality.fd_test, quality.fd_test / quality.floor),
        format!("{:.2}, {:.2}", quality.precision, quality.recall),
        classes.accuracy.as_ref().map_or_else(dash, share),
        classes.balance.as_ref().map_or_else(dash, |balance| format!("{:.1e}", balance.p_value)),
        test.map_or_else(dash, bits),
        cost.as_ref().map_or_else(dash, |cost| format!("{:.1}", cost.sampling_images_per_second)),
    ]
}

fn share(proportion: &Proportion) -> String {
    let [share, low, high] = [proportion.share(), proportion.low, proportion.high].map(|x| 100.0 * x);
    format!("{share:.1} % ({low:.1} to {high:.1})")
}

fn bits(likelihood: &Likelihood) -> String {
    format!("{:.3} ± {:.3}", likelihood.total.value, likelihood.total.error)
}
