//! `evaluation.json`: all metrics that `evaluate` measures, with the settings they depend on. The
//! table and the page use only these values.

use crate::metrics::balance::Balance;
use crate::metrics::brightness::Brightness;
use crate::metrics::proportion::Proportion;
use crate::metrics::{Estimate, Quantiles};
use serde::{Deserialize, Serialize};

/// The metrics of a model, or of images from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The evaluated model or images.
    pub target: TargetInfo,
    /// Sampling settings of its images.
    pub sampling: SamplingInfo,
    /// The network that extracted the features.
    pub feature_extractor: ExtractorInfo,
    /// Distances between distributions.
    pub quality: Quality,
    /// Brightness of samples and test images; `None` in files of earlier versions.
    pub brightness: Option<BrightnessPair>,
    /// Class accuracy and balance.
    pub classes: ClassMetrics,
    /// Bits per dimension of each measured split; empty for images from a file.
    pub likelihood: Vec<SplitLikelihood>,
    /// Distances to the nearest training images.
    pub memorization: Memorization,
    /// Time, operations and memory; `None` for images from a file.
    pub cost: Option<Cost>,
    /// Results of other samplers.
    pub sweep: Vec<SweepPoint>,
}

impl Evaluation {
    /// File name in the folder of an evaluation.
    pub const FILE: &str = "evaluation.json";
}

/// The evaluated model or images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetInfo {
    /// Name of the run folder, or of the file of images.
    pub name: String,
    /// Class of the model, such as `UNet2DModel`; `images` for images from a file.
    pub model: String,
    /// Description of the diffusion process.
    pub process: String,
    /// Name of the data set.
    pub dataset: String,
    /// Channels, height and width of an image.
    pub image: [u32; 3],
    /// Whether samples are conditioned on classes.
    pub conditional: bool,
    /// Number of training steps.
    pub step: u32,
    /// Number of parameters.
    pub parameters: u64,
}

/// Sampling settings of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingInfo {
    /// Number of samples.
    pub count: u32,
    /// Name of the sampler; `none` for an autoencoder and for images from a file.
    pub sampler: String,
    /// Number of steps; 0 without a sampler and for adaptive samplers.
    pub steps: u32,
    /// Scale of classifier-free guidance; 1 is no guidance.
    pub guidance: f32,
    /// The other settings that are set, such as `guidance_interval 0.3 to 5`; empty for none, and in
    /// files of earlier versions.
    #[serde(default)]
    pub settings: String,
    /// Components of the mixture that an autoencoder's latents were drawn from; 0 for N(0, 1).
    #[serde(default)]
    pub latent_components: u32,
    /// Random seed.
    pub seed: u64,
    /// Seconds for all samples.
    pub seconds: f64,
}

impl SamplingInfo {
    /// The sampler with its steps and settings, such as `dpm_solver 20, guidance 1.5`, for a model
    /// with classes or without. `None` without a sampler.
    pub fn describe(&self, conditional: bool) -> Option<String> {
        let mut text = self.sampler.clone();
        if self.steps > 0 {
            text += &format!(" {}", self.steps);
        }
        if conditional && self.guidance != 1.0 {
            text += &format!(", guidance {}", self.guidance);
        }
        if !self.settings.is_empty() {
            text += &format!(", {}", self.settings);
        }
        (self.sampler != "none").then_some(text)
    }
}

/// The feature extractor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtractorInfo {
    /// SHA-256 of its configuration and weights.
    pub sha256: String,
    /// Number of features of an image.
    pub features: u32,
    /// Share of the test images that it classifies correctly.
    pub accuracy: Proportion,
    /// Data set that it was trained on.
    pub dataset: String,
}

/// Distances between distributions of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Frechet distance between samples and test images.
    pub fd_test: f64,
    /// The standard error of `fd_test` over other samples, by the bootstrap; `None` in older files,
    /// and if no class has two samples.
    pub fd_test_error: Option<f64>,
    /// Frechet distance between samples and training images.
    pub fd_train: f64,
    /// Frechet distance between test images and as many random training images as there are samples,
    /// with the class counts of samples that have labels, as the mean over 20 subsets: the value for a
    /// perfect model.
    pub fd_reference: f64,
    /// Numbers of images.
    pub counts: ImageCounts,
    /// Kernel distance between samples and test images.
    pub kid: Estimate,
    /// Kernel distance between test images and the first of these subsets.
    pub kid_reference: Estimate,
    /// Share of samples within the radius of a test image.
    pub precision: f64,
    /// Share of test images within the radius of a sample.
    pub recall: f64,
    /// k, the number of neighbors that define a radius.
    pub neighbors: u32,
    /// Number of images on each side of precision and recall.
    pub neighbor_images: u32,
}

impl Quality {
    /// The distance to the test images with its standard error: `0.603 ± 0.012`.
    pub fn distance(&self) -> String {
        let error = self.fd_test_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
        format!("{:.3}{error}", self.fd_test)
    }

    /// Ratio of the distance to the reference distance.
    pub fn ratio(&self) -> f64 {
        self.fd_test / self.fd_reference
    }
}

/// Numbers of images that distances were measured on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageCounts {
    /// Samples.
    pub samples: u32,
    /// Training images of the reference distances.
    pub reference: u32,
    /// Subsets of them. Older files do not have it: their only subset had any classes.
    #[serde(default)]
    pub reference_subsets: u32,
    /// All training images.
    pub train: u32,
    /// Test images.
    pub test: u32,
}

/// Brightness of samples and of test images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrightnessPair {
    /// Brightness of the samples.
    pub samples: Brightness,
    /// Brightness of the test images.
    pub test: Brightness,
}

impl BrightnessPair {
    /// How much brighter the samples are than the test images, in percent; `None` for black test
    /// images.
    pub fn difference(&self) -> Option<f64> {
        (self.test.mean > 0.0).then(|| 100.0 * (self.samples.mean / self.test.mean - 1.0))
    }
}

/// Metrics of classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassMetrics {
    /// Names of the classes.
    pub names: Vec<String>,
    /// Share of conditional samples that are classified as their class.
    pub accuracy: Option<Proportion>,
    /// The same for each class, in the order of the names; empty for unconditional samples.
    pub accuracy_by_class: Vec<Proportion>,
    /// Predicted class counts of unconditional samples compared with the training set.
    pub balance: Option<Balance>,
    /// The same for conditional samples, whose classes have the shares of the training set; `None`
    /// for images from a file.
    pub balance_with_classes: Option<Balance>,
    /// Test accuracy of a classifier trained on conditional samples only (Ravuri and Vinyals 2019).
    pub classification_accuracy_score: Option<Proportion>,
    /// Test accuracy of the same classifier trained on as many training images as there are
    /// samples, at most all: about the score of a perfect model.
    pub classification_accuracy_reference: Option<Proportion>,
}

/// Bits per dimension of one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitLikelihood {
    /// `train` or `test`.
    pub split: String,
    /// Description of the method and its settings, such as `likelihood of the probability flow`.
    pub method: String,
    /// Number of images.
    pub images: u32,
    /// Mean over the images.
    pub total: Estimate,
    /// Named terms whose sum is the total: `L_T`, `sum of L_t`, `L_0`. For an autoencoder, the
    /// ELBO, for comparison with the total.
    pub parts: Vec<(String, Estimate)>,
}

/// Distances to the nearest training image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memorization {
    /// Euclidean distances of pixels in [-1, 1].
    pub pixels: NearestDistances,
    /// Euclidean distances of features.
    pub features: NearestDistances,
}

/// The distribution of distances to the nearest training image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearestDistances {
    /// Distances of samples.
    pub samples: Quantiles,
    /// Distances of test images.
    pub test: Quantiles,
    /// Share of samples at most as far away as the 1st percentile of test images. It is about 1 % if
    /// samples are as far away as test images. Its interval does not include the error of the
    /// percentile, which is estimated from as many test images as there are samples.
    pub near_duplicates: Proportion,
}

/// Cost of training and sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The device.
    pub adapter: String,
    /// Seconds of training.
    pub training_seconds: f64,
    /// Median of the images per second in the run's log; 0 without a log.
    pub training_images_per_second: f64,
    /// Floating-point operations of one forward pass of one image.
    pub flops_per_image: u64,
    /// Floating-point operations of a training step per image; 0 without the run's settings, and
    /// on a device that is too small for training.
    pub flops_per_training_image: u64,
    /// Bytes of device memory for training; 0 without the run's settings, and
    /// on a device that is too small for training.
    pub training_bytes: u64,
    /// Bytes of device memory for sampling.
    pub sampling_bytes: u64,
    /// Samples per second.
    pub sampling_images_per_second: f64,
}

/// Result of one sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPoint {
    /// Name of the sampler.
    pub sampler: String,
    /// Number of steps; 0 for a sampler that chooses its steps.
    pub steps: u32,
    /// Scale of classifier-free guidance.
    pub guidance: f32,
    /// Number of samples.
    pub count: u32,
    /// Seconds per sample.
    pub seconds_per_image: f64,
    /// Frechet distance between samples and test images.
    pub fd_test: f64,
    /// Share of conditional samples that are classified as their class.
    pub accuracy: Option<Proportion>,
}
