//! Run folders with made-up numbers. All numbers differ, so that a swapped number is noticed.

use degrain::checkpoint::RunSeconds;
use degrain::data::{Dataset, Split, load};
use degrain::evaluate::evaluation::{
    BrightnessPair, ClassMetrics, Cost, Evaluation, ExtractorInfo, ImageCounts, Memorization, NearestDistances,
    Quality, SamplingInfo, SplitLikelihood, SweepPoint, TargetInfo,
};
use degrain::metrics::balance::Balance;
use degrain::metrics::brightness::Brightness;
use degrain::metrics::proportion::Proportion;
use degrain::metrics::{Estimate, Quantiles};
use degrain::output::{Images, JsonLines, Layout, grid::grid, strip::strip};
use degrain::train::LogEntry;
use std::fs;
use std::path::Path;

/// A sequence of different numbers with many digits.
struct Numbers(f64);

impl Numbers {
    /// The next number, in 0..1.
    fn next(&mut self) -> f64 {
        self.0 = (self.0 + std::f64::consts::LN_2).fract();
        self.0
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    fn share(&mut self, low: f64, high: f64) -> Proportion {
        let count = 2000 + (1000.0 * self.next()) as u32;
        let successes = (f64::from(count) * self.between(low, high)) as u32;
        let share = f64::from(successes) / f64::from(count);
        Proportion {
            successes,
            count,
            low: share * self.between(0.97, 0.99),
            high: share + (1.0 - share) * self.next() * 0.1,
        }
    }

    fn estimate(&mut self, low: f64, high: f64) -> Estimate {
        let value = self.between(low, high);
        Estimate { value, error: value.abs() * self.between(0.002, 0.01) }
    }

    fn brightness(&mut self) -> Brightness {
        Brightness { mean: self.between(30.0, 40.0), bright_corners: self.between(0.001, 0.02) }
    }

    fn quantiles(&mut self, scale: f64) -> Quantiles {
        let mut steps = || scale * self.between(0.5, 1.0);
        let ends = [steps(), steps(), steps(), steps(), steps()];
        let [min, percentile_1, quartile_1, median, quartile_3] = [1, 2, 3, 4, 5].map(|n| ends[..n].iter().sum());
        Quantiles { count: (10_000.0 * self.next()) as u32, min, percentile_1, quartile_1, median, quartile_3 }
    }

    fn likelihood(&mut self, split: &str, method: &str, parts: &[&str]) -> SplitLikelihood {
        let parts = parts.iter().map(|&name| (name.to_string(), self.estimate(1e-6, 1.5))).collect();
        let images = 500 + (1000.0 * self.next()) as u32;
        SplitLikelihood { split: split.into(), method: method.into(), images, total: self.estimate(1.1, 2.4), parts }
    }
}

/// A complete evaluation of a conditional model with a discrete process.
pub fn evaluation(name: &str, seed: f64) -> Evaluation {
    let mut n = Numbers(seed);
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let nearest = |n: &mut Numbers, scale| NearestDistances {
        samples: n.quantiles(scale),
        test: n.quantiles(scale),
        near_duplicates: n.share(0.0, 0.03),
    };
    let mut sweep = Vec::new();
    for (sampler, guidance) in [("ddpm", 1.0), ("ddim", 1.0), ("ddim", 2.0), ("ddim", 4.5)] {
        for steps in [10, 50, 250] {
            let fd_test = 400.0 / f64::from(steps) * n.between(0.8, 1.2) + 2.0 * f64::from(guidance);
            let (seconds_per_image, accuracy) = (f64::from(steps) * 1e-4 * n.next(), Some(n.share(0.8, 0.99)));
            sweep.push(SweepPoint {
                sampler: sampler.into(),
                steps,
                guidance,
                count: 1000 + steps,
                seconds_per_image,
                fd_test,
                accuracy,
            });
        }
    }
    Evaluation {
        target: TargetInfo {
            name: name.into(),
            model: "UNet2DModel".into(),
            process: "discrete, 1000 steps, cosine schedule".into(),
            dataset: "MNIST".into(),
            image: [1, 28, 28],
            conditional: true,
            step: 2000 + (98_000.0 * n.next()) as u32,
            parameters: 1_234_567 + (1e6 * n.next()) as u64,
        },
        sampling: SamplingInfo {
            count: 10_000,
            sampler: "ddim".into(),
            steps: 50,
            guidance: 1.5,
            settings: "guidance_interval 0.3 to 5".into(),
            latent_components: 50,
            seed: u64::MAX - 5,
            seconds: n.between(20.0, 2000.0),
        },
        feature_extractor: ExtractorInfo {
            sha256: "9f2c".repeat(16),
            features: 128,
            accuracy: Proportion { successes: 9_913, count: 10_000, low: 0.989_3, high: 0.992_9 },
            dataset: "MNIST".into(),
        },
        quality: Quality {
            fd_test: n.between(1.0, 30.0),
            fd_test_error: Some(n.between(0.01, 0.5)),
            fd_train: n.between(1.0, 30.0),
            fd_reference: n.between(0.5, 0.9),
            counts: ImageCounts {
                samples: 10_001,
                reference: 10_002,
                reference_subsets: 20,
                train: 60_003,
                test: 10_004,
            },
            kid: n.estimate(-1e-3, 2e-2),
            kid_reference: n.estimate(-2e-5, 3e-5),
            precision: n.between(0.6, 0.99),
            recall: n.between(0.4, 0.9),
            neighbors: 3,
            neighbor_images: 5_000,
        },
        classes: ClassMetrics {
            names: classes.clone(),
            accuracy: Some(n.share(0.9, 0.999)),
            accuracy_by_class: classes.iter().map(|_| n.share(0.8, 1.0)).collect(),
            balance_with_classes: None,
            balance: Some(Balance {
                counts: classes.iter().map(|_| n.between(900.0, 1100.0) as u32).collect(),
                expected: classes.iter().map(|_| n.between(900.0, 1100.0)).collect(),
                chi_square: n.between(4.0, 60.0),
                degrees_of_freedom: 9,
                p_value: n.next().powi(12),
            }),
            classification_accuracy_score: Some(n.share(0.85, 0.97)),
            classification_accuracy_reference: Some(n.share(0.97, 0.99)),
        },
        brightness: Some(BrightnessPair { samples: n.brightness(), test: n.brightness() }),
        likelihood: vec![
            n.likelihood("train", "variational bound", &["L_T", "sum of L_t", "L_0"]),
            n.likelihood("test", "variational bound", &["L_T", "sum of L_t", "L_0"]),
            n.likelihood("test", "likelihood of the probability flow", &[]),
        ],
        memorization: Memorization { pixels: nearest(&mut n, 4.0), features: nearest(&mut n, 0.7) },
        cost: Some(Cost {
            adapter: "llvmpipe (LLVM 15.0.6, 256 bits)".into(),
            training_seconds: n.between(600.0, 90_000.0),
            training_images_per_second: n.between(50.0, 9000.0),
            flops_per_image: (1e8 * n.next()) as u64,
            flops_per_training_image: (3e8 * n.next()) as u64,
            training_bytes: (2e9 * n.next()) as u64,
            sampling_bytes: (2e8 * n.next()) as u64,
            sampling_images_per_second: n.between(5.0, 500.0),
        }),
        sweep,
    }
}

/// An evaluation of images from a file, which have no model, no classes and no cost.
pub fn images(name: &str, seed: f64) -> Evaluation {
    let mut all = evaluation(name, seed);
    let target = TargetInfo {
        model: "images".into(),
        process: "–".into(),
        conditional: false,
        step: 0,
        parameters: 0,
        ..all.target
    };
    let sampling = SamplingInfo {
        sampler: "none".into(),
        steps: 0,
        guidance: 1.0,
        settings: String::new(),
        seconds: 0.0,
        ..all.sampling
    };
    all.classes = ClassMetrics {
        accuracy: None,
        accuracy_by_class: vec![],
        balance: None,
        classification_accuracy_score: None,
        classification_accuracy_reference: None,
        ..all.classes
    };
    Evaluation { target, sampling, likelihood: vec![], cost: None, sweep: vec![], ..all }
}

/// Writes only `evaluation/evaluation.json`.
pub fn write_evaluation(run: &Path, evaluation: &Evaluation) {
    fs::create_dir_all(run.join("evaluation")).unwrap();
    fs::write(run.join("evaluation").join(Evaluation::FILE), serde_json::to_string_pretty(evaluation).unwrap())
        .unwrap();
}

/// Writes the other files of a run folder: the log, the settings and the pictures.
pub fn write_other_files(run: &Path, seed: f64) {
    let mut n = Numbers(seed);
    let mut log = JsonLines::open(&run.join("log.jsonl")).unwrap();
    for step in 1..=900u32 {
        let falling = 0.03 + 1.2 / (1.0 + f64::from(step) / 20.0);
        let mut loss = |height| height * falling * n.between(0.7, 1.3);
        let trained = 64.0 * f64::from(step) / (400.0 + 100.0 * seed);
        let seconds = RunSeconds { trained, ..RunSeconds::default() };
        log.append(&LogEntry::Step {
            step,
            seconds,
            loss: loss(1.0),
            gradient_norm: 1.0,
            learning_rate: 1e-3,
            // The first lines have no measured rate.
            images_per_second: if step < 5 { 0.0 } else { 400.0 + 100.0 * seed },
            loss_by_quarter: [
                Some(loss(2.0)),
                Some(loss(1.0)),
                Some(loss(0.6)),
                step.is_multiple_of(3).then(|| loss(0.4)),
            ],
        })
        .unwrap();
        if step.is_multiple_of(150) {
            let validation_by_quarter = [Some(1.0); 4];
            log.append(&LogEntry::Validation {
                step,
                seconds,
                validation_loss: 1.1 * falling,
                validation_by_quarter,
                metric: None,
            })
            .unwrap();
            let (bits_per_dim, frechet_distance) = (Some(1.5 + falling), Some(10.0 + 900.0 * falling));
            let training_bits_per_dim = Some(1.4 + falling);
            log.append(&LogEntry::Evaluation { step, seconds, bits_per_dim, training_bits_per_dim, frechet_distance })
                .unwrap();
        }
    }
    fs::write(run.join("config.toml"), "preset = \"ddpm\"\nbatch = 64\n[process]\nname = \"discrete\"\n").unwrap();

    let mnist = load(Path::new("data/mnist"), Split::Test).unwrap();
    let first = (1000.0 * seed) as usize;
    let folder = run.join("evaluation");
    grid(&digits(&mnist, first, 64), Layout { scale: 2, ..Layout::default() })
        .save_png(&folder.join("grid.png"), &[])
        .unwrap();
    grid(&digits(&mnist, first, 16), Layout { scale: 2, ..Layout::default() })
        .save_png(&folder.join("closest.png"), &[])
        .unwrap();
    let steps: Vec<Images> = (0..12).map(|step| digits(&mnist, first + step, 2)).collect();
    for name in ["forward.png", "reverse.png"] {
        strip(&steps, Layout { scale: 2, ..Layout::default() }).save_png(&run.join(name), &[]).unwrap();
    }
}

fn digits(mnist: &Dataset, first: usize, count: usize) -> Images<'_> {
    Images::new(&mnist.images[first * 784..][..count * 784], [count, 1, 28, 28])
}
