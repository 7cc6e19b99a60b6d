//! A small convolutional classifier. A noise-aware one also takes the time. It is used for
//! classifier guidance and as the feature extractor of evaluations.
//!
//! ```text
//! h = act(norm(conv(x)))                      the first level, of the image's size
//! each further level:
//!   h = act(norm(conv(h)))                                     with stride 2, or after max pooling
//!   h = h + time(act(e))                      if noise-aware
//!                                             e = linear_2(silu(linear_1(sinusoid(time))))
//!   h = [h +] act(norm(conv(h)))                               h added if residual
//! features = mean of each channel of h                         [B, channels of the last level]
//! logits = linear(dropout(features))
//! ```
//! Sides of less than 2^(levels - 1) pixels are padded to that with zeros, below and on the right.

use crate::nn::choices::Activation;
use crate::nn::config::ModelConfig;
use crate::nn::config_rules::{Rule, channels, check_sides, levels_at_least, rate};
use crate::nn::embedding::{ConditionEmbedding, sinusoid};
use crate::nn::layers::{BatchNorm, Conv, Dropout, Linear};
use crate::nn::network::{Conditions, Model, Network};
use crate::nn::padding::{height_width, resized};
use crate::nn::parameters::{Parameters, Weights};
use crate::ops::{Conv2d, Padding, add, add_channels, global_pool, max_pool};
use crate::tape::{Tape, Tensor};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How maps are halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// By a convolution with stride 2.
    Conv,
    /// By the maximum of each 2x2 pixels.
    Max,
}

/// The settings of a [`Classifier`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassifierConfig {
    /// Height and width of the images that it is made for; other sizes work as well.
    pub sample_size: [u32; 2],
    /// Channels of the image.
    pub in_channels: u32,
    /// Number of classes.
    pub classes: u32,
    /// Channels of each level, from the finest; the last is the number of features.
    pub block_out_channels: Vec<u32>,
    /// How maps are halved between the levels.
    pub downsample: Pooling,
    /// Whether the second convolution of a level is added to its input.
    pub residual: bool,
    /// The activation function.
    pub act_fn: Activation,
    /// Probability with which a feature is dropped in training.
    pub dropout: f64,
    /// Whether it takes the time, for noisy images.
    pub noise_aware: bool,
    /// Width of the time embedding, if noise-aware.
    pub time_embedding_dim: u32,
}

impl Default for ClassifierConfig {
    fn default() -> ClassifierConfig {
        ClassifierConfig {
            sample_size: [28, 28],
            in_channels: 1,
            classes: 10,
            block_out_channels: vec![16, 32, 96],
            downsample: Pooling::Conv,
            residual: true,
            act_fn: Activation::Relu,
            dropout: 0.2,
            noise_aware: false,
            time_embedding_dim: 64,
        }
    }
}

impl ModelConfig for ClassifierConfig {
    const CLASS: &'static str = "Classifier";

    fn check(&self) -> Rule {
        levels_at_least(&self.block_out_channels, 1)?;
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("classes", self.classes),
            ("time_embedding_dim", self.time_embedding_dim),
        ] {
            channels(key, value)?;
        }
        rate("dropout", self.dropout)?;
        let [height, width] = self.sample_size;
        check_sides(height, width).map_err(|problem| format!("`sample_size`: {problem}"))
    }
}

/// A convolution followed by batch normalization.
#[derive(Clone, Debug)]
struct ConvNorm {
    conv: Conv,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(p: &mut Parameters, name: &str, inputs: u32, outputs: u32, stride: u32) -> ConvNorm {
        let settings = Conv2d { stride, padding: Padding::Same };
        ConvNorm {
            conv: Conv::new(p, &format!("{name}.conv"), inputs, outputs, settings),
            norm: BatchNorm::new(p, &format!("{name}.norm"), outputs),
        }
    }

    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, h: Tensor, activation: Activation) -> Tensor {
        let h = self.conv.forward(t, w, h);
        self.norm.activated(t, w, h, activation)
    }
}

#[derive(Clone, Debug)]
struct ClassifierLevel {
    first: ConvNorm,
    time: Option<Linear>,
    second: ConvNorm,
}

/// A classifier.
#[derive(Clone, Debug)]
pub struct Classifier {
    config: ClassifierConfig,
    parameters: Parameters,
    stem: ConvNorm,
    embedding: Option<ConditionEmbedding>,
    levels: Vec<ClassifierLevel>,
    dropout: Dropout,
    head: Linear,
}

impl Classifier {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`] if the config cannot be computed.
    pub fn new(config: ClassifierConfig) -> Result<Classifier> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let (channels, width) = (&config.block_out_channels, config.time_embedding_dim);
        let stride = if config.downsample == Pooling::Conv { 2 } else { 1 };
        let stem = ConvNorm::new(p, "stem", config.in_channels, channels[0], 1);
        let embedding = config.noise_aware.then(|| ConditionEmbedding::new(p, width, width, None));
        let level = |(i, sides): (usize, &[u32])| {
            let (inputs, outputs) = (sides[0], sides[1]);
            let named = |part: &str| format!("levels.{i}.{part}");
            ClassifierLevel {
                first: ConvNorm::new(p, &named("first"), inputs, outputs, stride),
                time: config.noise_aware.then(|| Linear::new(p, &named("time"), width, outputs)),
                second: ConvNorm::new(p, &named("second"), outputs, outputs, 1),
            }
        };
        let levels = channels.windows(2).enumerate().map(level).collect();
        let dropout = Dropout::new(p, config.dropout as f32);
        let head = Linear::new(p, "head", channels[channels.len() - 1], config.classes).last(p);
        parameters.check_size()?;
        Ok(Classifier { stem, embedding, levels, dropout, head, config, parameters })
    }

    /// Its settings.
    pub fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// Records the features [B, F] of images x [B, C, H, W]: the input of the last layer, F =
    /// channels of the last level.
    ///
    /// # Panics
    /// If the size does not fit, or a condition is missing or superfluous.
    #[track_caller]
    pub fn features(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let size @ [height, width] = height_width(t, x);
        self.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let ClassifierConfig { act_fn, residual, downsample, .. } = self.config;
        conditions.labels(false);
        conditions.time(self.config.noise_aware);
        let e = self.embedding.as_ref().map(|embedding| {
            let e = embedding.forward(t, w, conditions);
            act_fn.apply(t, e)
        });
        let x = resized(t, x, self.padded_size(size));
        let mut h = self.stem.forward(t, w, x, act_fn);
        for level in &self.levels {
            if downsample == Pooling::Max {
                h = max_pool(t, h);
            }
            h = level.first.forward(t, w, h, act_fn);
            if let Some((time, e)) = level.time.as_ref().zip(e) {
                let e = time.rows(t, w, e);
                h = add_channels(t, h, e, 0);
            }
            let second = level.second.forward(t, w, h, act_fn);
            h = if residual { add(t, h, second) } else { second };
        }
        global_pool(t, h)
    }

    /// Records the logits [B, classes] of features [B, F].
    #[track_caller]
    pub fn logits(&self, t: &mut Tape, w: &Weights, features: Tensor) -> Tensor {
        let h = self.dropout.forward(t, w, features);
        self.head.rows(t, w, h)
    }
}

impl Model for Classifier {
    fn class(&self) -> &'static str {
        ClassifierConfig::CLASS
    }

    fn config_json(&self) -> String {
        self.config.to_json()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        let [height, width] = self.config.sample_size;
        Some([self.config.in_channels, height, width])
    }

    /// Odd sizes are rounded when they are halved, so a side only has to stay at least 1.
    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        size.map(|side| side.max(1 << (self.config.block_out_channels.len() - 1)))
    }
}

/// A network whose output is logits [B, classes].
impl Network for Classifier {
    fn channels(&self) -> [u32; 2] {
        [self.config.in_channels, self.config.classes]
    }

    fn time_width(&self) -> u32 {
        if self.config.noise_aware { self.config.time_embedding_dim } else { 0 }
    }

    /// The cosines and sines of [`sinusoid`]; empty if it is not noise-aware.
    fn time_row(&self, time: f64) -> Vec<f64> {
        match self.time_width() {
            0 => vec![],
            width => sinusoid(time, width as usize, true, 0.0),
        }
    }

    /// It takes no class.
    fn classes(&self) -> Option<u32> {
        None
    }

    fn check_size(&self, height: u32, width: u32) -> Result<()> {
        check_sides(height, width).map_err(Error::Config)
    }

    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let features = self.features(t, w, x, conditions);
        self.logits(t, w, features)
    }
}
