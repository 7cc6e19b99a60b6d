//! A U-Net of residual blocks with batch normalization, dropout and ReLU, and self-attention at
//! every level.
//!
//! ```text
//! e = linear_2(silu(linear_1(sinusoid(time)))) + class embedding
//! h = conv_in(pad(x))
//! h = levels(h, relu(e))      as in the U-Net of diffusers; halved by a convolution or by
//!                             averaging, doubled by repeating pixels
//! y = crop(conv_out(relu(norm(h))))
//! block: y = shortcut(x) + conv2(dropout(relu(norm2(conv1(relu(norm1(x))) + time(e)))))
//! ```

use crate::nn::blocks::levels::{Halving, Levels, LevelsSettings};
use crate::nn::blocks::resnet::ResnetSettings;
use crate::nn::blocks::self_attention::SelfAttentionSettings;
use crate::nn::choices::{Activation, TimeShift};
use crate::nn::config::ModelConfig;
use crate::nn::config_rules::{self, Rule, check_sides, divides_all, head_fits, layers, levels_at_least, rate};
use crate::nn::embedding::{ConditionEmbedding, sinusoid};
use crate::nn::layers::{BatchNorm, Conv, Normalization};
use crate::nn::network::{Conditions, Model, Network};
use crate::nn::padding::{halvable, height_width, resized};
use crate::nn::parameters::{Parameters, Weights};
use crate::ops::{Padding, relu};
use crate::tape::{Tape, Tensor};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How maps are halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum DownsampleType {
    /// By a convolution of 3x3 with stride 2.
    Conv,
    /// By the mean of each 2x2 pixels.
    Average,
}

/// The settings of a [`ResidualUNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResidualUNetConfig {
    /// Height and width of the images that it is made for; other sizes work as well.
    pub sample_size: [u32; 2],
    /// Channels of the noisy image.
    pub in_channels: u32,
    /// Channels of the prediction.
    pub out_channels: u32,
    /// Channels of each level, from the finest.
    pub block_out_channels: Vec<u32>,
    /// Residual blocks per down level; up levels have one more.
    pub layers_per_block: u32,
    /// How maps are halved.
    pub downsample: DownsampleType,
    /// Probability with which the residual blocks drop an element in training.
    pub dropout: f64,
    /// Whether each level, from the finest, has self-attention; the middle always has it.
    pub attention: Vec<bool>,
    /// Channels of an attention head.
    pub attention_head_dim: u32,
    /// Groups of the attention's group normalization.
    pub norm_num_groups: u32,
    /// Number of classes, including a null class; null for an unconditional model.
    pub num_class_embeds: Option<u32>,
}

impl Default for ResidualUNetConfig {
    fn default() -> ResidualUNetConfig {
        ResidualUNetConfig {
            sample_size: [28, 28],
            in_channels: 1,
            out_channels: 1,
            block_out_channels: vec![32, 64, 128],
            layers_per_block: 2,
            downsample: DownsampleType::Conv,
            dropout: 0.1,
            attention: vec![true; 3],
            attention_head_dim: 32,
            norm_num_groups: 8,
            num_class_embeds: None,
        }
    }
}

impl ModelConfig for ResidualUNetConfig {
    const CLASS: &'static str = "ResidualUNet";

    fn check(&self) -> Rule {
        let channels = &self.block_out_channels;
        levels_at_least(channels, 1)?;
        for (key, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("attention_head_dim", self.attention_head_dim),
            ("num_class_embeds", self.num_class_embeds.unwrap_or(1)),
        ] {
            config_rules::channels(key, value)?;
        }
        layers("layers_per_block", self.layers_per_block)?;
        if self.attention.len() != channels.len() {
            return Err(format!(
                "`attention` has {} entries, but `block_out_channels` has {}: one for each level",
                self.attention.len(),
                channels.len()
            ));
        }
        rate("dropout", self.dropout)?;
        divides_all(channels, "norm_num_groups", self.norm_num_groups)?;
        let last = channels.len() - 1;
        (0..=last)
            .filter(|&level| level == last || self.attention[level])
            .try_for_each(|level| head_fits(channels, level, Some(self.attention_head_dim)))?;
        let [height, width] = self.sample_size;
        check_sides(height, width).map_err(|problem| format!("`sample_size`: {problem}"))
    }
}

impl ResidualUNetConfig {
    fn time_width(&self) -> u32 {
        4 * self.block_out_channels[0]
    }

    fn levels(&self) -> LevelsSettings<'_> {
        let resnet = ResnetSettings {
            time_width: self.time_width(),
            time_shift: TimeShift::Add,
            normalization: Normalization::Batch,
            dropout: self.dropout as f32,
            activation: Activation::Relu,
            divisor: 1.0,
        };
        let attention = SelfAttentionSettings {
            head_width: Some(self.attention_head_dim),
            groups: Some(self.norm_num_groups),
            eps: 1e-5,
            divisor: 1.0,
        };
        let of_level = |&attends: &bool| attends.then_some(attention);
        LevelsSettings {
            channels: &self.block_out_channels,
            layers: self.layers_per_block,
            resnet,
            down: self.attention.iter().map(of_level).collect(),
            mid: Some((resnet, Some(attention))),
            up: self.attention.iter().rev().map(of_level).collect(),
            halving: match self.downsample {
                DownsampleType::Conv => Halving::Conv(Padding::Same),
                DownsampleType::Average => Halving::Average,
            },
        }
    }
}

/// A U-Net of residual blocks with batch normalization.
#[derive(Clone, Debug)]
pub struct ResidualUNet {
    config: ResidualUNetConfig,
    parameters: Parameters,
    conv_in: Conv,
    embedding: ConditionEmbedding,
    levels: Levels,
    norm_out: BatchNorm,
    conv_out: Conv,
}

impl ResidualUNet {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`] if the config cannot be computed.
    pub fn new(config: ResidualUNetConfig) -> Result<ResidualUNet> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let first = config.block_out_channels[0];
        let model = ResidualUNet {
            conv_in: Conv::same(p, "conv_in", config.in_channels, first),
            embedding: ConditionEmbedding::new(p, first, config.time_width(), config.num_class_embeds),
            levels: Levels::new(p, &config.levels()),
            norm_out: BatchNorm::new(p, "conv_norm_out", first),
            conv_out: Conv::same(p, "conv_out", first, config.out_channels).last(p),
            config,
            parameters,
        };
        model.parameters.check_size()?;
        Ok(model)
    }

    /// Its settings.
    pub fn config(&self) -> &ResidualUNetConfig {
        &self.config
    }
}

impl Model for ResidualUNet {
    fn class(&self) -> &'static str {
        ResidualUNetConfig::CLASS
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

    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        halvable(self.config.block_out_channels.len(), size)
    }
}

impl Network for ResidualUNet {
    fn channels(&self) -> [u32; 2] {
        [self.config.in_channels, self.config.out_channels]
    }

    fn time_width(&self) -> u32 {
        self.config.block_out_channels[0]
    }

    /// The cosines and sines of [`sinusoid`].
    fn time_row(&self, time: f64) -> Vec<f64> {
        sinusoid(time, self.time_width() as usize, true, 0.0)
    }

    fn classes(&self) -> Option<u32> {
        self.config.num_class_embeds
    }

    fn check_size(&self, height: u32, width: u32) -> Result<()> {
        check_sides(height, width).map_err(Error::Config)
    }

    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let size @ [height, width] = height_width(t, x);
        self.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let e = self.embedding.forward(t, w, conditions);
        let e = relu(t, e);
        let x = resized(t, x, self.padded_size(size));
        let h = self.conv_in.forward(t, w, x);
        let h = self.levels.forward(t, w, h, e);
        let h = self.norm_out.activated(t, w, h, Activation::Relu);
        let y = self.conv_out.forward(t, w, h);
        resized(t, y, size)
    }
}
