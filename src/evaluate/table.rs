//! An evaluation in words and numbers, for a terminal.

use super::baselines::baselines;
use super::evaluation::{Evaluation, Nearest};
use crate::metrics::Estimate;
use crate::metrics::balance::Proportion;
use std::fmt::Write;

/// The table of an evaluation.
pub fn table(evaluation: &Evaluation) -> String {
    let Evaluation { subject, sampling, ruler, quality, classes, .. } = evaluation;
    let mut rows = Rows::default();
    rows.add(
        "evaluated",
        format!("{}: {}, {}, {} steps trained", subject.name, subject.model, subject.process, subject.step),
    );
    let how = match sampling.sampler.as_str() {
        "none" => String::new(),
        sampler => {
            format!(" by {sampler}, {} steps, guidance {}, seed {}", sampling.steps, sampling.guidance, sampling.seed)
        }
    };
    rows.add("images", format!("{}{how}, {:.1} s", sampling.count, sampling.seconds));
    rows.add(
        "ruler",
        format!(
            "{} features, reads {} of the {} test images, sha256 {}…",
            ruler.features,
            share(&ruler.accuracy),
            ruler.dataset,
            &ruler.sha256[..16.min(ruler.sha256.len())]
        ),
    );
    rows.title("Quality");
    rows.add(
        "FD to the test images",
        format!("{:.3}, {:.2} times the floor", quality.fd_test, quality.fd_test / quality.floor),
    );
    rows.add("FD to the training images", format!("{:.3}", quality.fd_train));
    rows.add("floor", format!("{:.3} of {} training images", quality.floor, quality.counts.floor));
    rows.add(
        "KID to the test images",
        format!("{}, of training images {}", small(&quality.kid), small(&quality.kid_floor)),
    );
    rows.add(
        "precision, recall",
        format!("{:.3}, {:.3} (k = {})", quality.precision, quality.recall, quality.neighbors),
    );
    rows.title("Classes");
    if let Some(accuracy) = &classes.accuracy {
        rows.add("read as the class asked for", share(accuracy));
    }
    if let Some(balance) = &classes.balance {
        rows.add("counts without a class", balance.counts.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        rows.add(
            "chi-square",
            format!("{:.1}, {} degrees, p = {:.2e}", balance.chi_square, balance.degrees, balance.p_value),
        );
    }
    if let Some(score) = &classes.classification_accuracy_score {
        rows.add("classification accuracy score", share(score));
    }
    likelihood(evaluation, &mut rows);
    rows.title("Distance to the nearest training image (median; 1 % of test images are nearer than)");
    rows.add("in pixels", distances(&evaluation.memorization.pixels));
    rows.add("in features", distances(&evaluation.memorization.features));
    if let Some(cost) = &evaluation.cost {
        rows.title("Cost");
        rows.add(
            "training",
            format!("{:.0} s, {:.1} images/s", cost.training_seconds, cost.training_images_per_second),
        );
        rows.add("sampling", format!("{:.2} images/s", cost.sampling_images_per_second));
        rows.add("parameters", subject.parameters.to_string());
        let flops = [cost.flops_per_image, cost.flops_per_training_image].map(|flops| flops as f64 / 1e6);
        rows.add("MFLOP an image", format!("{:.1}, in training {:.1}", flops[0], flops[1]));
        let bytes = [cost.training_bytes, cost.sampling_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        rows.add("device memory, MiB", format!("training {:.0}, sampling {:.0}", bytes[0], bytes[1]));
    }
    sweep(evaluation, &mut rows);
    rows.text
}

fn likelihood(evaluation: &Evaluation, rows: &mut Rows) {
    if evaluation.likelihood.is_empty() {
        return;
    }
    rows.title("Bits a dimension");
    for bits in &evaluation.likelihood {
        let part = |(name, value): &(String, Estimate)| format!(", {name} {:.4}", value.value);
        let parts: String = bits.parts.iter().map(part).collect();
        let name = format!("{} ({} images)", bits.split, bits.images);
        rows.add(&name, format!("{:.4} ± {:.4}{parts}: {}", bits.total.value, bits.total.error, bits.what));
    }
    let baselines = baselines(&evaluation.subject.dataset);
    if !baselines.is_empty() {
        let baselines: Vec<String> = baselines.iter().map(|(bits, what)| format!("{bits} ({what})")).collect();
        rows.add("to beat", baselines.join(", "));
    }
}

fn sweep(evaluation: &Evaluation, rows: &mut Rows) {
    if evaluation.sweep.is_empty() {
        return;
    }
    rows.title("By sampler and steps");
    for point in &evaluation.sweep {
        let read =
            point.accuracy.as_ref().map_or(String::new(), |accuracy| format!(", read rightly {}", share(accuracy)));
        let name = format!("{} {}, guidance {}", point.sampler, point.steps, point.guidance);
        rows.add(
            &name,
            format!(
                "FD {:.3} of {} images, {:.3} s an image{read}",
                point.fd_test, point.count, point.seconds_per_image
            ),
        );
    }
}

fn share(proportion: &Proportion) -> String {
    let [share, low, high] = [proportion.share(), proportion.low, proportion.high].map(|x| 100.0 * x);
    format!("{share:.2} % ({low:.2} to {high:.2})")
}

fn small(estimate: &Estimate) -> String {
    format!("{:.5} ± {:.5}", estimate.value, estimate.error)
}

fn distances(nearest: &Nearest) -> String {
    let Nearest { drawn, test, near_duplicates } = nearest;
    format!(
        "drawn {:.3}, test {:.3}; {} nearer than {:.3}",
        drawn.median,
        test.median,
        share(near_duplicates),
        test.percentile_1
    )
}

/// Lines of names and values.
#[derive(Default)]
struct Rows {
    text: String,
}

impl Rows {
    fn title(&mut self, title: &str) {
        self.text.push_str(&format!("\n{title}\n"));
    }

    fn add(&mut self, name: &str, value: String) {
        writeln!(self.text, "  {name:30} {value}").expect("writing into memory");
    }
}
