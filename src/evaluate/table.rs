//! An evaluation as a table for a terminal.

use super::baselines::baselines;
use super::evaluation::{Cost, Evaluation, NearestDistances, SplitLikelihood, SweepPoint};
use crate::metrics::Estimate;
use crate::metrics::proportion::Proportion;
use std::fmt::Write;

/// The table of an evaluation.
pub fn table(evaluation: &Evaluation) -> String {
    let mut rows = TextTable::default();
    header(evaluation, &mut rows);
    quality(evaluation, &mut rows);
    classes(evaluation, &mut rows);
    if !evaluation.likelihood.is_empty() {
        likelihood(&evaluation.likelihood, &evaluation.target.dataset, &mut rows);
    }
    rows.title("Distance to the nearest training image");
    rows.add("in pixels", distances(&evaluation.memorization.pixels));
    rows.add("in features", distances(&evaluation.memorization.features));
    if let Some(cost) = &evaluation.cost {
        costs(cost, evaluation.target.parameters, &mut rows);
    }
    if !evaluation.sweep.is_empty() {
        sweep(&evaluation.sweep, &mut rows);
    }
    rows.text
}

fn header(evaluation: &Evaluation, rows: &mut TextTable) {
    let Evaluation { target, sampling, feature_extractor, .. } = evaluation;
    rows.add(
        "evaluated",
        format!("{}: {}, {}, {} training steps", target.name, target.model, target.process, target.step),
    );
    let sampler = match sampling.sampler.as_str() {
        "none" => String::new(),
        sampler => {
            format!(", {sampler}, {} steps, guidance {}, seed {}", sampling.steps, sampling.guidance, sampling.seed)
        }
    };
    rows.add("images", format!("{}{sampler}, {:.1} s", sampling.count, sampling.seconds));
    rows.add(
        "feature extractor",
        format!(
            "{} features, accuracy {} on the {} test images, sha256 {}…",
            feature_extractor.features,
            percent(&feature_extractor.accuracy),
            feature_extractor.dataset,
            &feature_extractor.sha256[..16.min(feature_extractor.sha256.len())]
        ),
    );
}

fn quality(evaluation: &Evaluation, rows: &mut TextTable) {
    let quality = &evaluation.quality;
    rows.title("Quality");
    rows.add(
        "FD to test images",
        format!("{:.3}, {:.2} times the reference FD", quality.fd_test, quality.fd_test / quality.fd_reference),
    );
    rows.add("FD to training images", format!("{:.3}", quality.fd_train));
    rows.add(
        "reference FD",
        format!("{:.3} between {} training images and the test images", quality.fd_reference, quality.counts.reference),
    );
    rows.add(
        "KID to test images",
        format!("{}, reference KID {}", estimate(&quality.kid), estimate(&quality.kid_reference)),
    );
    rows.add(
        "precision, recall",
        format!("{:.3}, {:.3} (k = {})", quality.precision, quality.recall, quality.neighbors),
    );
}

fn classes(evaluation: &Evaluation, rows: &mut TextTable) {
    let classes = &evaluation.classes;
    rows.title("Classes");
    if let Some(accuracy) = &classes.accuracy {
        rows.add("class accuracy", percent(accuracy));
    }
    if let Some(balance) = &classes.balance {
        let counts = balance.counts.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        rows.add("unconditional class counts", counts);
        rows.add(
            "chi-square test",
            format!(
                "{:.1}, {} degrees of freedom, p = {:.2e}",
                balance.chi_square, balance.degrees_of_freedom, balance.p_value
            ),
        );
    }
    if let Some(score) = &classes.classification_accuracy_score {
        rows.add("classification accuracy score", percent(score));
    }
}

fn likelihood(splits: &[SplitLikelihood], dataset: &str, rows: &mut TextTable) {
    rows.title("Bits per dimension");
    for bits in splits {
        let part = |(name, value): &(String, Estimate)| format!(", {name} {:.4}", value.value);
        let parts: String = bits.parts.iter().map(part).collect();
        let name = format!("{} ({} images)", bits.split, bits.images);
        rows.add(&name, format!("{:.4} ± {:.4}{parts}: {}", bits.total.value, bits.total.error, bits.method));
    }
    let baselines: Vec<String> = baselines(dataset).iter().map(|(bits, what)| format!("{bits} ({what})")).collect();
    if !baselines.is_empty() {
        rows.add("baselines", baselines.join(", "));
    }
}

fn costs(cost: &Cost, parameters: u64, rows: &mut TextTable) {
    rows.title("Cost");
    rows.add("training", format!("{:.0} s, {:.1} images/s", cost.training_seconds, cost.training_images_per_second));
    rows.add("sampling", format!("{:.2} images/s", cost.sampling_images_per_second));
    rows.add("parameters", parameters.to_string());
    let flops = [cost.flops_per_image, cost.flops_per_training_image].map(|flops| flops as f64 / 1e6);
    rows.add("MFLOP per image", format!("{:.1} per forward pass, {:.1} per training step", flops[0], flops[1]));
    let bytes = [cost.training_bytes, cost.sampling_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
    rows.add("device memory, MiB", format!("training {:.0}, sampling {:.0}", bytes[0], bytes[1]));
}

fn sweep(points: &[SweepPoint], rows: &mut TextTable) {
    rows.title("Sweep of samplers");
    for point in points {
        let accuracy = point.accuracy.as_ref().map_or(String::new(), |a| format!(", class accuracy {}", percent(a)));
        let name = format!("{} {}, guidance {}", point.sampler, point.steps, point.guidance);
        rows.add(
            &name,
            format!(
                "FD {:.3}, {} images, {:.3} s per image{accuracy}",
                point.fd_test, point.count, point.seconds_per_image
            ),
        );
    }
}

fn percent(proportion: &Proportion) -> String {
    let [share, low, high] = [proportion.share(), proportion.low, proportion.high].map(|x| 100.0 * x);
    format!("{share:.2} % ({low:.2} to {high:.2})")
}

fn estimate(estimate: &Estimate) -> String {
    format!("{:.5} ± {:.5}", estimate.value, estimate.error)
}

fn distances(nearest: &NearestDistances) -> String {
    let NearestDistances { samples, test, near_duplicates } = nearest;
    format!(
        "median {:.3}, test images {:.3}; {} near duplicates, at most {:.3} away",
        samples.median,
        test.median,
        percent(near_duplicates),
        test.percentile_1
    )
}

/// Rows of names and values.
#[derive(Default)]
struct TextTable {
    text: String,
}

impl TextTable {
    fn title(&mut self, title: &str) {
        self.text.push_str(&format!("\n{title}\n"));
    }

    fn add(&mut self, name: &str, value: String) {
        writeln!(self.text, "  {name:30} {value}").expect("a String can be written");
    }
}
