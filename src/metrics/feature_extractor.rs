//! The feature extractor: a frozen classifier of clean images. Distances use its features;
//! accuracies and class counts use its predictions.
//!
//! Results of different feature extractors cannot be compared, so the SHA-256 of the extractor is
//! stored with the results. The repository contains one for MNIST (`data/feature-extractor`). For
//! other data, train one with `train --preset classifier --noise-aware false`.

use super::padding::pixel_value;
use super::proportion::Proportion;
use crate::checkpoint::{AnyModel, Checkpoint, CheckpointMetadata};
use crate::data::Dataset;
use crate::gpu::Context;
use crate::nn::{Classifier, Conditions, Model, Network};
use crate::output::counted;
use crate::ranks::divide;
use crate::tape::{Program, Shape, Step, record};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A frozen classifier on the host.
pub struct FeatureExtractor {
    /// Folder of the checkpoint.
    pub folder: PathBuf,
    /// The classifier.
    pub network: Classifier,
    /// Its parameters, followed by the running statistics of its normalization layers.
    pub weights: Vec<f32>,
    /// SHA-256 of its configuration (JSON) and its weights (little-endian, in the model's order).
    pub sha256: String,
    /// Name of the data set that it was trained on.
    pub dataset: String,
    /// SHA-256 of that data set, if the checkpoint has it.
    pub data_sha256: Option<String>,
    /// Names of its classes.
    pub class_names: Vec<String>,
}

impl FeatureExtractor {
    /// Opens a checkpoint folder, or the last checkpoint of a run folder.
    ///
    /// # Errors
    /// The folder does not exist or holds no classifier of clean images.
    pub fn open(path: &Path) -> Result<FeatureExtractor> {
        if !path.exists() {
            return Err(Error::file(
                path,
                "there is no feature extractor. The one for MNIST is data/feature-extractor of this repository: run \
                 from the repository's root, or name it with --feature-extractor. For other data train one with: \
                 train --preset classifier --noise-aware false --data FOLDER",
            ));
        }
        let Checkpoint { folder, model, weights, metadata, .. } = Checkpoint::open(path)?;
        let AnyModel::Classifier(network) = model else {
            let problem = format!(
                "holds a {}, not a classifier: train a feature extractor with --preset classifier --noise-aware false",
                model.model().class()
            );
            return Err(Error::file(&folder, problem));
        };
        if network.time_width() > 0 {
            let problem =
                "this classifier was trained on noisy images: train a feature extractor with --noise-aware false";
            return Err(Error::file(&folder, problem));
        }
        if metadata.dataset.is_empty() {
            return Err(Error::file(&folder, "does not name the data set it was trained on (degrain.json)"));
        }
        let mut bytes = network.config_json().into_bytes();
        bytes.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let CheckpointMetadata { dataset, data_sha256, class_names, .. } = metadata;
        if class_names.len() < 2 {
            let problem = "distinguishes fewer than two classes: features need a classifier of several classes";
            return Err(Error::file(&folder, problem));
        }
        Ok(FeatureExtractor { folder, network, weights, sha256, dataset, data_sha256, class_names })
    }

    /// Number of features of an image.
    pub fn width(&self) -> usize {
        self.network.config().block_out_channels.last().copied().unwrap_or(0) as usize
    }

    /// Checks that it was trained on the images of this data set: by their SHA-256, or by the name
    /// of a published data set.
    ///
    /// # Errors
    /// It was trained on other data, or on images of another size; data of one class, for which there
    /// is no classifier.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        if data.class_names.len() < 2 {
            return Err(Error::Config(format!(
                "{}: all images are of one class. The features of an evaluation are those of a classifier that was \
                 trained on the same data, so this data cannot be evaluated unless its images have classes",
                data.name
            )));
        }
        let same = match &self.data_sha256 {
            Some(sum) => *sum == data.sha256(),
            None => self.dataset == data.name && data.is_published(),
        };
        let shape = self.network.image_shape();
        if same && self.class_names == data.class_names && shape == Some(data.shape()) {
            return Ok(());
        }
        if let Some(shape) = shape.filter(|&shape| shape != data.shape()) {
            let [[c, h, w], [channels, height, width]] = [shape, data.shape()];
            return Err(Error::file(
                &self.folder,
                format!(
                    "this feature extractor was trained on images of {h}x{w} with {}, and those of {} have {height}x{width} \
                     with {}: train one on images of this size with `train --preset classifier --noise-aware false --data \
                     FOLDER` and name it with --feature-extractor",
                    counted(c as usize, "channel"),
                    data.name,
                    counted(channels as usize, "channel")
                ),
            ));
        }
        Err(Error::file(
            &self.folder,
            format!(
                "this feature extractor was trained on {}, and the images are from other data ({}): train one with \
                 `train --preset classifier --noise-aware false --data FOLDER` and name it with --feature-extractor",
                self.dataset, data.name
            ),
        ))
    }
}

/// Features and predicted classes of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Features `[N, width]`.
    pub features: Vec<f32>,
    /// Number of features of an image.
    pub width: usize,
    /// The predicted class of each image: the one with the largest logit.
    pub classes: Vec<u32>,
}

impl Features {
    /// Features of a range of images.
    pub fn rows(&self, range: std::ops::Range<usize>) -> &[f32] {
        &self.features[range.start * self.width..range.end * self.width]
    }

    /// Features of the given images, in this order.
    pub fn gather(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|&row| self.rows(row..row + 1)).copied().collect()
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.classes.len()
    }

    /// Share of images whose predicted class is their label.
    pub fn accuracy(&self, labels: &[u32]) -> Proportion {
        let correct = self.classes.iter().zip(labels).filter(|(class, label)| class == label).count();
        Proportion::new(correct as u32, self.count() as u32)
    }

    /// Number of images predicted as each class.
    pub fn counts(&self, classes: usize) -> Vec<u32> {
        let mut counts = vec![0; classes];
        self.classes.iter().for_each(|&class| counts[class as usize] += 1);
        counts
    }
}

/// A feature extractor compiled for a device.
pub struct FeatureProgram {
    program: Program,
    batch: usize,
    pixels: usize,
    width: usize,
    classes: usize,
    name: String,
}

impl FeatureProgram {
    /// Compiles a classifier of clean images and writes its weights (parameters, followed by
    /// running statistics) to the device. Names of its buffers begin with `name`.
    pub fn new(
        ctx: &mut Context,
        network: &Classifier,
        weights: &[f32],
        batch: u32,
        name: &str,
    ) -> Result<FeatureProgram> {
        let config = network.config();
        let [height, width] = config.sample_size;
        let named = |part: &str| format!("{name}.{part}");
        network.parameters().write(ctx, &named("weights"), weights)?;
        let (tape, features_shape) = record(ctx, |t| {
            let x = t.named(&named("x"), Shape::f32([batch, config.in_channels, height, width]));
            let weights = network.parameters().fixed(t, &named("weights"));
            let features = network.features(t, &weights, x, Conditions::default());
            let logits = network.logits(t, &weights, features);
            let features_shape = t.shape(features);
            t.keep(features, &named("features"));
            t.keep(logits, &named("logits"));
            features_shape
        })?;
        let program = Program::compile(ctx, &tape)?;
        Ok(FeatureProgram {
            program,
            batch: batch as usize,
            pixels: (config.in_channels * height * width) as usize,
            width: features_shape.len() / batch as usize,
            classes: config.classes as usize,
            name: name.into(),
        })
    }

    /// Computes features and predictions of images, bytes `[N, C, H, W]`. Calls `progress` with the
    /// number of finished images.
    ///
    /// # Errors
    /// Errors of the device and of `progress`.
    pub fn run(&self, ctx: &Context, bytes: &[u8], progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Features> {
        let count = bytes.len() / self.pixels;
        // The bits of the features of each image, and its class.
        let rows = divide(&*ctx.ranks, count.div_ceil(self.batch), |piece| {
            let first = piece * self.batch;
            let size = self.batch.min(count - first);
            let x: Vec<f32> =
                bytes[first * self.pixels..][..size * self.pixels].iter().map(|&byte| pixel_value(byte)).collect();
            ctx.write(&format!("{}.x", self.name), 0, &x)?;
            self.program.run(ctx, &Step::default())?;
            let features: Vec<f32> = ctx.read(&format!("{}.features", self.name), 0, size * self.width)?;
            let logits: Vec<f32> = ctx.read(&format!("{}.logits", self.name), 0, size * self.classes)?;
            progress((first + size) as u64)?;
            let images = features.chunks(self.width).zip(logits.chunks(self.classes));
            let row = |(features, logits): (&[f32], &[f32])| {
                features.iter().map(|x| x.to_bits()).chain([argmax(logits)]).collect::<Vec<u32>>()
            };
            Ok(images.flat_map(row).collect())
        })?;
        let mut result = Features { width: self.width, ..Features::default() };
        for row in rows.chunks(self.width + 1) {
            result.features.extend(row[..self.width].iter().map(|&bits| f32::from_bits(bits)));
            result.classes.push(row[self.width]);
        }
        Ok(result)
    }
}

/// The class with the largest logit.
pub fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(class, _)| class as u32)
}
