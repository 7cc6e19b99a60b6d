//! `evaluation.json`: every number that `evaluate` measures of a model, with what it was measured on. The table and the page are made from it
//! alone.

use crate::metrics::balance::{Balance, Proportion};
use crate::metrics::{Estimate, Quantiles};
use serde::{Deserialize, Serialize};

/// What was measured of a model, or of images from elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What was evaluated.
    pub subject: Subject,
    /// How its images were drawn.
    pub sampling: Sampling,
    /// The classifier that read them.
    pub ruler: ExtractorInfo,
    /// Distances of distributions.
    pub quality: Quality,
    /// What the classifier reads.
    pub classes: Classes,
    /// Bits a dimension, of each split that was measured; empty for images from elsewhere.
    pub likelihood: Vec<Likelihood>,
    /// Whether images are copies.
    pub memorization: Memorization,
    /// What it cost; `None` for images from elsewhere.
    pub cost: Option<Cost>,
    /// Frechet distance by sampler and number of steps, where it was asked for.
    pub sweep: Vec<SweepPoint>,
}

/// What was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Name of the run's folder, or of the file of images.
    pub name: String,
    /// Class of the model, such as `UNet2DModel`; `images` for images from elsewhere.
    pub model: String,
    /// The process in words.
    pub process: String,
    /// Name of the data set.
    pub dataset: String,
    /// Channels, rows and columns of an image.
    pub image: [u32; 3],
    /// Whether it is told classes.
    pub conditional: bool,
    /// Steps trained.
    pub step: u32,
    /// Numbers trained.
    pub parameters: u64,
}

/// How images were drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Images drawn.
    pub count: u32,
    /// Name of the sampler; `none` for an autoencoder and for images from elsewhere.
    pub sampler: String,
    /// Its steps; 0 where it has none or chooses them itself.
    pub steps: u32,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: f32,
    /// Seed of the noise.
    pub seed: u64,
    /// Seconds for all of them.
    pub seconds: f64,
}

/// The frozen classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractorInfo {
    /// SHA-256 of its configuration and weights.
    pub sha256: String,
    /// Numbers that it makes of an image.
    pub features: u32,
    /// Share of the test images that it reads as what they are.
    pub accuracy: Proportion,
    /// Data set that it was trained on.
    pub dataset: String,
}

/// Distances between distributions of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Frechet distance to the test images.
    pub fd_test: f64,
    /// Frechet distance to the training images.
    pub fd_train: f64,
    /// Frechet distance of as many training images to the test images: what a perfect model would have.
    pub floor: f64,
    /// Images on each side.
    pub counts: Counts,
    /// Kernel distance to the test images, with the standard error of its subsets' mean.
    pub kid: Estimate,
    /// The same of training images to the test images.
    pub kid_floor: Estimate,
    /// Share of the images that lie among the test images (k nearest neighbours).
    pub precision: f64,
    /// Share of the test images that lie among the images.
    pub recall: f64,
    /// k.
    pub neighbors: u32,
    /// Images on each side of precision and recall.
    pub neighbour_images: u32,
}

/// How many images a distance was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Images that were drawn.
    pub drawn: u32,
    /// Training images of the floor.
    pub floor: u32,
    /// Training images.
    pub train: u32,
    /// Test images.
    pub test: u32,
}

/// What the classifier reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Names of the classes.
    pub names: Vec<String>,
    /// Share of conditional images that are read as the class asked for.
    pub accuracy: Option<Proportion>,
    /// The same of each class, in the order of the names; empty without.
    pub accuracy_by_class: Vec<Proportion>,
    /// Counts of classes of unconditional images, against the training set's shares.
    pub balance: Option<Balance>,
    /// Share of the real test images that are read rightly by a classifier trained on conditional images only (Ravuri and Vinyals 2019).
    pub classification_accuracy_score: Option<Proportion>,
}

/// Bits a dimension of one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// `train` or `test`.
    pub split: String,
    /// What was measured, in words: the variational bound, the flow's likelihood, ...
    pub what: String,
    /// Images measured.
    pub images: u32,
    /// Bits a dimension: the mean over images with its standard error.
    pub total: Estimate,
    /// What the total is a sum of, by name: `L_T`, `sum of L_t`, `L_0`; for an autoencoder other numbers to stand beside.
    pub parts: Vec<(String, Estimate)>,
}

/// Distance to the nearest training image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memorization {
    /// In pixels: the Euclidean distance of images in [-1, 1].
    pub pixels: Nearest,
    /// In the classifier's features.
    pub features: Nearest,
}

/// The distribution of distances to the nearest training image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nearest {
    /// Of images that were drawn.
    pub drawn: Quantiles,
    /// Of test images.
    pub test: Quantiles,
    /// Share of the drawn images that lie at least as near as the nearest hundredth of the test images: 1 % if they are as far as test images.
    pub near_duplicates: Proportion,
}

/// What training and sampling cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The device.
    pub adapter: String,
    /// Seconds trained.
    pub training_seconds: f64,
    /// Images a second in training: the median of the run's log; 0 without one.
    pub training_images_per_second: f64,
    /// Floating-point operations for one image to pass the network once.
    pub flops_per_image: u64,
    /// Floating-point operations of a training step, of one image; 0 if the run's settings are not there.
    pub flops_per_training_image: u64,
    /// Bytes of device memory that training plans; 0 if the run's settings are not there.
    pub training_bytes: u64,
    /// Bytes of device memory that sampling plans.
    pub sampling_bytes: u64,
    /// Images drawn a second.
    pub sampling_images_per_second: f64,
}

/// One way of sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPoint {
    /// Name of the sampler.
    pub sampler: String,
    /// Its steps.
    pub steps: u32,
    /// Scale of classifier-free guidance.
    pub guidance: f32,
    /// Images drawn.
    pub count: u32,
    /// Seconds for an image.
    pub seconds_per_image: f64,
    /// Frechet distance to the test images.
    pub fd_test: f64,
    /// Share of conditional images that are read as the class asked for.
    pub accuracy: Option<Proportion>,
}

impl Evaluation {
    /// Its name in the folder of an evaluation.
    pub const FILE: &str = "evaluation.json";
}
