//! An evaluation as a table for a terminal.

use super::baselines::baselines;
use super::evaluation::{BrightnessPair, Cost, Evaluation, NearestDistances, SplitLikelihood, SweepPoint};
use crate::metrics::Estimate;
use crate::metrics::brightness::DARK;
use crate::metrics::proportion::Proportion;
use crate::output::counted;
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
    // Images from a file, and models that were not trained by degrain, have no number of steps.
    let trained = if target.step > 0 { format!(", {}", counted(target.step, "training step")) } else { String::new() };
    rows.add("evaluated", format!("{}: {}, {}{trained}", target.name, target.model, target.process));
    let sampler = sampling.describe(target.conditional);
    let sampler = sampler.map_or(String::new(), |sampler| format!(", {sampler}, seed {}", sampling.seed));
    let seconds = if sampling.seconds > 0.0 { format!(", {:.1} s", sampling.seconds) } else { String::new() };
    rows.add("images", format!("{}{sampler}{seconds}", sampling.count));
    if sampling.latent_components > 0 {
        let components = counted(sampling.latent_components, "Gaussian");
        rows.add("latents", format!("from a mixture of {components} fitted to training images"));
    } else if sampling.sampler == "none" && target.model != "images" {
        rows.add("latents", "from N(0, 1)".to_string());
    }
    rows.add(
        "feature extractor",
        format!(
            "{}, accuracy {} on the {} test images, sha256 {}…",
            counted(feature_extractor.features, "feature"),
            percent(&feature_extractor.accuracy),
            feature_extractor.dataset,
            &feature_extractor.sha256[..16.min(feature_extractor.sha256.len())]
        ),
    );
}

fn quality(evaluation: &Evaluation, rows: &mut TextTable) {
    let quality = &evaluation.quality;
    rows.title("Quality");
    rows.add("FD to test images", format!("{}, {:.2} times the reference FD", quality.distance(), quality.ratio()));
    rows.add("FD to training images", format!("{:.3}", quality.fd_train));
    rows.add(
        "reference FD",
        format!(
            "{:.3} between {} and the test images",
            quality.fd_reference,
            counted(quality.counts.reference, "training image")
        ),
    );
    rows.add(
        "KID to test images",
        format!("{}, reference KID {}", estimate(&quality.kid), estimate(&quality.kid_reference)),
    );
    rows.add(
        "precision, recall",
        format!("{:.3}, {:.3} (k = {})", quality.precision, quality.recall, quality.neighbors),
    );
    if let Some(pair) = evaluation.brightness {
        let BrightnessPair { samples, test } = pair;
        let difference = pair.difference().map_or(String::new(), |difference| format!(" ({difference:+.1} %)"));
        rows.add("mean pixel value", format!("{:.2}, test images {:.2}{difference}", samples.mean, test.mean));
        let [samples, test] = [samples, test].map(|set| 100.0 * set.bright_corners);
        rows.add("bright corner pixels", format!("{samples:.2} %, test images {test:.2} % (above {DARK} of 255)"));
    }
}

fn classes(evaluation: &Evaluation, rows: &mut TextTable) {
    let classes = &evaluation.classes;
    rows.title("Classes");
    if let Some(accuracy) = &classes.accuracy {
        rows.add("class accuracy", percent(accuracy));
    }
    for (name, balance) in [
        ("class counts with classes in the shares of the data", &classes.balance_with_classes),
        ("unconditional class counts", &classes.balance),
    ] {
        let Some(balance) = balance else { continue };
        let counts = balance.counts.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        rows.add(name, counts);
        rows.add(
            "chi-square test",
            format!(
                "{:.1}, {} of freedom, p = {:.2e}",
                balance.chi_square,
                counted(balance.degrees_of_freedom, "degree"),
                balance.p_value
            ),
        );
    }
    if let Some(score) = &classes.classification_accuracy_score {
        rows.add("classification accuracy score", percent(score));
    }
    if let Some(score) = &classes.classification_accuracy_reference {
        rows.add("the same of training images", percent(score));
    }
}

fn likelihood(splits: &[SplitLikelihood], dataset: &str, rows: &mut TextTable) {
    rows.title("Bits per dimension");
    for bits in splits {
        let part = |(name, value): &(String, Estimate)| format!(", {name} {:.4}", value.value);
        let parts: String = bits.parts.iter().map(part).collect();
        let name = format!("{} ({})", bits.split, counted(bits.images, "image"));
        rows.add(&name, format!("{:.4} ± {:.4}{parts}: {}", bits.total.value, bits.total.error, bits.method));
    }
    let baselines: Vec<String> = baselines(dataset).iter().map(|(bits, what)| format!("{bits} ({what})")).collect();
    if !baselines.is_empty() {
        rows.add("baselines", baselines.join(", "));
    }
}

fn costs(cost: &Cost, parameters: u64, rows: &mut TextTable) {
    rows.title("Cost");
    // What is not known is 0.
    let speed = cost.training_images_per_second;
    let speed = if speed > 0.0 { format!(", {speed:.1} images/s") } else { String::new() };
    if cost.training_seconds > 0.0 {
        rows.add("training", format!("{:.0} s{speed}", cost.training_seconds));
    }
    rows.add("sampling", format!("{:.2} images/s", cost.sampling_images_per_second));
    rows.add("parameters", parameters.to_string());
    let flops = [cost.flops_per_image, cost.flops_per_training_image].map(|flops| flops as f64 / 1e6);
    let training = if flops[1] > 0.0 { format!(", {:.1} per training step", flops[1]) } else { String::new() };
    rows.add("MFLOP per image", format!("{:.1} per forward pass{training}", flops[0]));
    let bytes = [cost.training_bytes, cost.sampling_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
    let training = if bytes[0] > 0.0 { format!("training {:.0}, ", bytes[0]) } else { String::new() };
    rows.add("device memory, MiB", format!("{training}sampling {:.0}", bytes[1]));
}

fn sweep(points: &[SweepPoint], rows: &mut TextTable) {
    rows.title("Sweep of samplers");
    for point in points {
        let accuracy = point.accuracy.as_ref().map_or(String::new(), |a| format!(", class accuracy {}", percent(a)));
        // A sampler that chooses its steps itself has none.
        let steps = if point.steps == 0 { String::new() } else { format!(" {}", point.steps) };
        let name = format!("{}{steps}, guidance {}", point.sampler, point.guidance);
        rows.add(
            &name,
            format!(
                "FD {:.3}, {}, {:.3} s per image{accuracy}",
                point.fd_test,
                counted(point.count, "image"),
                point.seconds_per_image
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
