//! The ruler: a frozen classifier whose features and readings all distances, accuracies and counts are taken from.
//!
//! Distances of different rulers cannot be compared, so its file's SHA-256 stands beside every number. One for MNIST is part of the project
//! (`data/feature-extractor`); for other data, one is trained by `train --preset classifier --noise-aware false`.

use super::balance::Proportion;
use super::padding::scaled;
use crate::data::Dataset;
use crate::diffusion::pipeline::{self, Checkpoint};
use crate::gpu::Context;
use crate::nn::registry::AnyModel;
use crate::nn::{Classifier, Conditions, Model, Network};
use crate::tape::{Program, Shape, Step, Tape};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A frozen classifier.
pub struct FeatureExtractor {
    /// Where it was read from.
    pub folder: PathBuf,
    /// The classifier.
    pub network: Classifier,
    /// Its weights: a slab, followed by its statistics.
    pub weights: Vec<f32>,
    /// SHA-256 of its configuration (JSON) and its weights (little-endian numbers in the order of the model).
    pub sha256: String,
    /// Data set that it was trained on.
    pub dataset: String,
    /// Names of the classes that it tells apart.
    pub class_names: Vec<String>,
}

impl FeatureExtractor {
    /// Reads a ruler from a checkpoint's folder, or the last of a run.
    ///
    /// # Errors
    /// A folder that is not there, or holds something else than a classifier of clean images.
    pub fn read(path: &Path) -> Result<FeatureExtractor> {
        if !path.exists() {
            return Err(Error::file(
                path,
                "there is no ruler, the classifier whose features are compared. That for MNIST is data/feature-extractor of this repository (run from its \
                 root, or give --feature-extractor); train another with: train --preset classifier --noise-aware false --data FOLDER",
            ));
        }
        let folder = pipeline::locate(path)?;
        let Checkpoint { model, weights, card, .. } = pipeline::read_model(&folder)?;
        let AnyModel::Classifier(network) = model else {
            let problem = format!(
                "holds a {}, not a classifier: train a ruler with --preset classifier --noise-aware false",
                model.model().class()
            );
            return Err(Error::file(&folder, problem));
        };
        if network.time_width() > 0 {
            let problem = "this classifier was trained on noised images: train a ruler with --noise-aware false";
            return Err(Error::file(&folder, problem));
        }
        let card =
            card.ok_or_else(|| Error::file(&folder, "does not say what data it was trained on (degrain.json)"))?;
        let mut bytes = network.config_json().into_bytes();
        bytes.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(FeatureExtractor { folder, network, weights, sha256, dataset: card.dataset, class_names: card.class_names })
    }

    /// Number of its features.
    pub fn width(&self) -> usize {
        self.network.config().block_out_channels.last().copied().unwrap_or(0) as usize
    }

    /// Whether it can read the images of a data set.
    ///
    /// # Errors
    /// It was trained on another.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        let same = self.dataset == data.name && self.class_names == data.class_names;
        match same && self.network.image_shape() == Some(data.shape()) {
            true => Ok(()),
            false => Err(Error::file(
                &self.folder,
                format!(
                    "this ruler was trained on {} and the images are of {}: train one with `train --preset classifier --noise-aware false --data \
                     FOLDER`, and give it with --feature-extractor",
                    self.dataset, data.name
                ),
            )),
        }
    }
}

/// What a ruler says of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Features `[N, width]`.
    pub features: Vec<f32>,
    /// Numbers of a row of features.
    pub width: usize,
    /// The most probable class of each image.
    pub classes: Vec<u32>,
}

impl Features {
    /// Rows `from .. to`.
    pub fn rows(&self, range: std::ops::Range<usize>) -> &[f32] {
        &self.features[range.start * self.width..range.end * self.width]
    }

    /// Images read.
    pub fn count(&self) -> usize {
        self.classes.len()
    }

    /// Share of images that are read as their labels.
    pub fn accuracy(&self, labels: &[u32]) -> Proportion {
        let right = self.classes.iter().zip(labels).filter(|(read, label)| read == label).count();
        Proportion::of(right as u32, self.count() as u32)
    }

    /// Images of each class.
    pub fn counts(&self, classes: usize) -> Vec<u32> {
        let mut counts = vec![0; classes];
        self.classes.iter().for_each(|&class| counts[class as usize] += 1);
        counts
    }
}

/// A classifier ready to read.
pub struct FeatureReader {
    program: Program,
    batch: usize,
    pixels: usize,
    width: usize,
    classes: usize,
    name: String,
}

impl FeatureReader {
    /// Compiles a classifier of clean images with weights (a slab, followed by its statistics). Its memory begins with `name`.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        ctx: &mut Context,
        network: &Classifier,
        weights: &[f32],
        batch: u32,
        name: &str,
    ) -> Result<FeatureReader> {
        let config = network.config();
        let [height, width] = config.sample_size;
        let named = |part: &str| format!("{name}.{part}");
        network.parameters().write(ctx, &named("weights"), weights)?;
        let mut tape = Tape::new(ctx.target());
        let t = &mut tape;
        let x = t.named(&named("x"), Shape::f32([batch, config.in_channels, height, width]));
        let weights = network.parameters().fixed(t, &named("weights"));
        let features = network.features(t, &weights, x, Conditions::default());
        let logits = network.logits(t, &weights, features);
        let features_shape = t.shape(features);
        t.keep(features, &named("features"));
        t.keep(logits, &named("logits"));
        let program = Program::compile(ctx, &tape)?;
        Ok(FeatureReader {
            program,
            batch: batch as usize,
            pixels: (config.in_channels * height * width) as usize,
            width: features_shape.len() / batch as usize,
            classes: config.classes as usize,
            name: name.into(),
        })
    }

    /// Reads images, bytes `[N, C, H, W]`. `progress` is called with the number of images read.
    ///
    /// # Errors
    /// The device's, and those of `progress`.
    pub fn read(&self, ctx: &Context, bytes: &[u8], progress: &mut dyn FnMut(u64) -> Result<()>) -> Result<Features> {
        let count = bytes.len() / self.pixels;
        let mut readings = Features { width: self.width, ..Features::default() };
        for first in (0..count).step_by(self.batch) {
            let taken = self.batch.min(count - first);
            let x: Vec<f32> =
                bytes[first * self.pixels..][..taken * self.pixels].iter().map(|&byte| scaled(byte)).collect();
            ctx.write(&format!("{}.x", self.name), 0, &x)?;
            self.program.run(ctx, &Step::default())?;
            let features: Vec<f32> = ctx.read(&format!("{}.features", self.name), 0, taken * self.width)?;
            readings.features.extend(features);
            let logits: Vec<f32> = ctx.read(&format!("{}.logits", self.name), 0, taken * self.classes)?;
            readings.classes.extend(logits.chunks(self.classes).map(most_probable));
            progress((first + taken) as u64)?;
        }
        Ok(readings)
    }
}

/// The class of the largest logit.
pub fn most_probable(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(class, _)| class as u32)
}
