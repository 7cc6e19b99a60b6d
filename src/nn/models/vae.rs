//! A convolutional variational autoencoder (Kingma and Welling 2014): it maps images to normal
//! distributions of a latent vector, and latents to distributions of the pixels.
//!
//! ```text
//! encode: h = pad(x)
//!         each level: h = silu(norm(conv(h)))       3x3; stride 2, except in the first
//!         h = silu(linear(h))                       with `hidden_channels`
//!         mean, log_variance = linear(h), linear(h)                         [B, L]
//! decode: h = silu(norm(map(linear(z))))            a map of the coarsest size; or, with
//!         h = silu(map(linear(silu(linear(z)))))    `hidden_channels`, which keeps z's scale
//!         each level except the coarsest: h = silu(norm(conv(upsample(h))))
//!         y = crop(conv_out(h))                     parameters of the likelihood
//! ```
//! y is the logits of the pixels `[B, C, H, W]` (Bernoulli), or C channels of means and C of log
//! scales `[B, 2C, H, W]` (discretized logistic).

use crate::nn::choices::Activation;
use crate::nn::config::ModelConfig;
use crate::nn::config_rules::{Rule, channels, check_sides, divides_all, levels_at_least, map_values};
use crate::nn::layers::{Conv, Linear, Norm};
use crate::nn::network::Model;
use crate::nn::padding::{halvable, resized};
use crate::nn::parameters::{Parameters, Weights};
use crate::ops::{Conv2d, Padding, silu, upsample};
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Added to variances.
const EPS: f32 = 1e-5;

/// Distribution of a pixel, given the decoder's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum Likelihood {
    /// Bernoulli with a logit.
    Bernoulli,
    /// Discretized logistic over 256 values, with a mean and a log scale.
    DiscretizedLogistic,
}

/// The settings of a [`Vae`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeConfig {
    /// Height and width of the images; no other size works.
    pub sample_size: [u32; 2],
    /// Channels of the image.
    pub in_channels: u32,
    /// Size of the latent vector.
    pub latent_channels: u32,
    /// Channels of each level, from the finest.
    pub block_out_channels: Vec<u32>,
    /// Groups of the group normalizations.
    pub norm_num_groups: u32,
    /// Width of a hidden layer between the coarsest map and the latent, in encoder and decoder;
    /// null for none.
    pub hidden_channels: Option<u32>,
    /// Distribution of a pixel, given the decoder's output.
    pub likelihood: Likelihood,
}

impl Default for VaeConfig {
    fn default() -> VaeConfig {
        VaeConfig {
            sample_size: [28, 28],
            in_channels: 1,
            latent_channels: 20,
            block_out_channels: vec![16, 32, 64],
            norm_num_groups: 8,
            hidden_channels: None,
            likelihood: Likelihood::DiscretizedLogistic,
        }
    }
}

impl ModelConfig for VaeConfig {
    const CLASS: &'static str = "Vae";

    fn check(&self) -> Rule {
        levels_at_least(&self.block_out_channels, 1)?;
        channels("in_channels", self.in_channels)?;
        channels("latent_channels", self.latent_channels)?;
        channels("hidden_channels", self.hidden_channels.unwrap_or(1))?;
        divides_all(&self.block_out_channels, "norm_num_groups", self.norm_num_groups)?;
        let [height, width] = self.sample_size;
        check_sides(height, width).map_err(|problem| format!("`sample_size`: {problem}"))?;
        let [channels, height, width] = self.coarsest();
        map_values(channels, [height, width])
    }
}

impl VaeConfig {
    /// Channels, height and width of the coarsest map.
    fn coarsest(&self) -> [u32; 3] {
        let levels = self.block_out_channels.len();
        let [height, width] = halvable(levels, self.sample_size).map(|side| side >> (levels - 1));
        [self.block_out_channels[levels - 1], height, width]
    }
}

/// A convolution followed by group normalization and SiLU.
#[derive(Clone, Debug)]
struct ConvNormSilu {
    conv: Conv,
    norm: Norm,
}

impl ConvNormSilu {
    fn new(p: &mut Parameters, name: &str, [inputs, outputs]: [u32; 2], stride: u32, groups: u32) -> ConvNormSilu {
        let settings = Conv2d { stride, padding: Padding::Same };
        ConvNormSilu {
            conv: Conv::new(p, &format!("{name}.conv"), inputs, outputs, settings),
            norm: Norm::new(p, &format!("{name}.norm"), outputs, groups, EPS),
        }
    }

    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, h: Tensor) -> Tensor {
        let h = self.conv.forward(t, w, h);
        self.norm.activated(t, w, h, Activation::Silu)
    }
}

/// A variational autoencoder.
#[derive(Clone, Debug)]
pub struct Vae {
    config: VaeConfig,
    parameters: Parameters,
    down: Vec<ConvNormSilu>,
    encoder_hidden: Option<Linear>,
    mean: Linear,
    log_variance: Linear,
    decoder_hidden: Option<Linear>,
    latent: Linear,
    /// Without hidden layers.
    norm: Option<Norm>,
    /// From the coarsest.
    up: Vec<ConvNormSilu>,
    conv_out: Conv,
}

impl Vae {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`] if the config cannot be computed.
    pub fn new(config: VaeConfig) -> Result<Vae> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let (channels, groups) = (&config.block_out_channels, config.norm_num_groups);
        let [coarsest, height, width] = config.coarsest();
        let (length, latent) = (coarsest * height * width, config.latent_channels);
        let outputs = match config.likelihood {
            Likelihood::Bernoulli => config.in_channels,
            Likelihood::DiscretizedLogistic => 2 * config.in_channels,
        };
        let down = (0..channels.len())
            .map(|i| {
                let inputs = if i == 0 { config.in_channels } else { channels[i - 1] };
                let stride = if i == 0 { 1 } else { 2 };
                ConvNormSilu::new(p, &format!("encoder.levels.{i}"), [inputs, channels[i]], stride, groups)
            })
            .collect();
        let hidden = config.hidden_channels;
        let encoder_hidden = hidden.map(|width| Linear::new(p, "encoder.hidden", length, width));
        let [mean, log_variance] =
            ["encoder.mean", "encoder.log_variance"].map(|name| Linear::new(p, name, hidden.unwrap_or(length), latent));
        let decoder_hidden = hidden.map(|width| Linear::new(p, "decoder.hidden", latent, width));
        let from_latent = Linear::new(p, "decoder.linear", hidden.unwrap_or(latent), length);
        let norm = hidden.is_none().then(|| Norm::new(p, "decoder.norm", coarsest, groups, EPS));
        let up = channels
            .windows(2)
            .rev()
            .enumerate()
            .map(|(number, channels)| {
                let sides = [channels[1], channels[0]];
                ConvNormSilu::new(p, &format!("decoder.levels.{number}"), sides, 1, groups)
            })
            .collect();
        let conv_out = Conv::same(p, "decoder.conv_out", channels[0], outputs).last(p);
        parameters.check_size()?;
        Ok(Vae {
            down,
            encoder_hidden,
            mean,
            log_variance,
            decoder_hidden,
            latent: from_latent,
            norm,
            up,
            conv_out,
            config,
            parameters,
        })
    }

    /// Its settings.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Channels, height and width of the images.
    pub fn image_shape(&self) -> [u32; 3] {
        let [height, width] = self.config.sample_size;
        [self.config.in_channels, height, width]
    }

    /// Size of the latent vector.
    pub fn latent_channels(&self) -> u32 {
        self.config.latent_channels
    }

    /// Distribution of a pixel, given the decoder's output.
    pub fn likelihood(&self) -> Likelihood {
        self.config.likelihood
    }

    /// Checks that it supports images of a size.
    ///
    /// # Errors
    /// [`Error::Config`], with the size that it supports.
    pub fn check_size(&self, height: u32, width: u32) -> Result<()> {
        let [h, w] = self.config.sample_size;
        if [height, width] == [h, w] {
            Ok(())
        } else {
            Err(Error::Config(format!(
                "images of {height}x{width} do not fit a Vae whose `sample_size` is {h}x{w}: \
                 it has weights for each pixel"
            )))
        }
    }

    /// Records the encoder for images x `[B, C, H, W]`: mean and log variance of the latents, both
    /// `[B, latent]`.
    ///
    /// # Panics
    /// If the images are of another size.
    #[track_caller]
    pub fn encode(&self, t: &mut Tape, w: &Weights, x: Tensor) -> (Tensor, Tensor) {
        let [batch, _, height, width] = t.shape(x).as_array();
        self.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let mut h = resized(t, x, self.padded_size([height, width]));
        for level in &self.down {
            h = level.forward(t, w, h);
        }
        let mut h = t.reshape(h, Shape::f32([batch, self.config.coarsest().iter().product()]));
        if let Some(hidden) = &self.encoder_hidden {
            h = hidden.rows(t, w, h);
            h = silu(t, h);
        }
        (self.mean.rows(t, w, h), self.log_variance.rows(t, w, h))
    }

    /// Records the decoder for latents z `[B, latent]`: logits `[B, C, H, W]` (Bernoulli), or means
    /// and log scales `[B, 2C, H, W]` (discretized logistic).
    #[track_caller]
    pub fn decode(&self, t: &mut Tape, w: &Weights, z: Tensor) -> Tensor {
        let [batch, _] = t.shape(z).as_array();
        let [channels, height, width] = self.config.coarsest();
        let mut h = z;
        if let Some(hidden) = &self.decoder_hidden {
            h = hidden.rows(t, w, h);
            h = silu(t, h);
        }
        h = self.latent.rows(t, w, h);
        h = t.reshape(h, Shape::f32([batch, channels, height, width]));
        h = match &self.norm {
            Some(norm) => norm.activated(t, w, h, Activation::Silu),
            None => silu(t, h),
        };
        for level in &self.up {
            h = upsample(t, h);
            h = level.forward(t, w, h);
        }
        let y = self.conv_out.forward(t, w, h);
        resized(t, y, self.config.sample_size)
    }
}

impl Model for Vae {
    fn class(&self) -> &'static str {
        VaeConfig::CLASS
    }

    fn config_json(&self) -> String {
        self.config.to_json()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        Some(self.image_shape())
    }

    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        halvable(self.config.block_out_channels.len(), size)
    }
}
