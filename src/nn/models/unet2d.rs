//! The U-Net of denoising diffusion (Ho et al. 2020), as diffusers' `UNet2DModel` computes it from
//! the same `config.json` and state dict.
//!
//! ```text
//! e = linear_2(silu(linear_1(sinusoid(timestep)))) + class embedding
//! h = conv_in(features(pad(x)))             every h of the down levels is kept
//! each level down: residual block, [attention], ... ; halve, except in the last
//! residual block, [attention], residual block
//! each level up: concat with the last kept h, residual block, [attention], ... ;
//!                double, except in the last
//! y = crop(conv_out(silu(norm(h))))
//! ```
//! diffusers neither pads nor crops: it takes only sizes that can be halved between all levels.

use super::unet2d_config::UNet2dConfig;
use crate::Result;
use crate::gpu::Target;
use crate::nn::blocks::levels::{Halving, Levels, LevelsSettings};
use crate::nn::blocks::resnet::ResnetSettings;
use crate::nn::blocks::self_attention::SelfAttentionSettings;
use crate::nn::choices::{Activation, DownBlock, TimeShift, UpBlock};
use crate::nn::embedding::{ConditionEmbedding, sinusoid};
use crate::nn::layers::{Conv, Norm, Normalization};
use crate::nn::network::{Conditions, Model, Network};
use crate::nn::padding::{halvable, height_width, resized};
use crate::nn::parameters::{Parameters, Weights};
use crate::ops::{Padding, affine, fourier_features};
use crate::tape::{Shape, Tape, Tensor};

/// A U-Net: names and shapes of its parameters, and its forward pass.
#[derive(Clone, Debug)]
pub struct UNet2d {
    config: UNet2dConfig,
    parameters: Parameters,
    conv_in: Conv,
    embedding: ConditionEmbedding,
    levels: Levels,
    norm_out: Norm,
    conv_out: Conv,
}

impl UNet2d {
    /// The model of a config.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the config cannot be computed.
    pub fn new(config: UNet2dConfig) -> Result<UNet2d> {
        config.validate()?;
        let mut parameters = Parameters::new();
        let p = &mut parameters;
        let first = config.block_out_channels[0];
        let model = UNet2d {
            conv_in: Conv::same(p, "conv_in", config.in_channels * config.features(), first),
            embedding: ConditionEmbedding::new(p, first, config.time_width(), config.num_class_embeds),
            levels: Levels::new(p, &levels(&config)),
            norm_out: Norm::new(p, "conv_norm_out", first, config.norm_num_groups, config.norm_eps as f32),
            conv_out: Conv::same(p, "conv_out", first, config.out_channels).last(p),
            config,
            parameters,
        };
        model.parameters.check_size()?;
        Ok(model)
    }

    /// Its settings.
    pub fn config(&self) -> &UNet2dConfig {
        &self.config
    }

    /// Floating-point operations of one forward pass for one image.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if the size does not fit.
    pub fn flops(&self, height: u32, width: u32) -> Result<u64> {
        self.config.check_size(height, width)?;
        let mut t = Tape::new(Target::DISCRETE_GPU);
        let w = self.parameters.fixed(&mut t, crate::nn::PARAMETERS);
        let x = t.named("x", Shape::f32([1, self.config.in_channels, height, width]));
        let time = Some(t.named("time", Shape::f32([1, self.time_width()])));
        let labels = self.config.num_class_embeds.map(|_| t.named("labels", Shape::u32([1])));
        self.forward(&mut t, &w, x, Conditions { time, labels });
        let shapes = |inputs: &[Tensor]| inputs.iter().map(|&x| t.shape(x)).collect::<Vec<_>>();
        Ok(t.nodes().iter().map(|node| node.op.flops(&shapes(&node.inputs))).sum())
    }
}

impl Model for UNet2d {
    fn class(&self) -> &'static str {
        "UNet2DModel"
    }

    fn config_json(&self) -> String {
        self.config.to_json()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        let [height, width] = self.config.sample_size?.height_width();
        Some([self.config.in_channels, height, width])
    }

    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        halvable(self.config.levels(), size)
    }
}

impl Network for UNet2d {
    fn channels(&self) -> [u32; 2] {
        [self.config.in_channels, self.config.out_channels]
    }

    fn time_width(&self) -> u32 {
        self.config.block_out_channels[0]
    }

    /// The sines and cosines of [`sinusoid`].
    fn time_row(&self, time: f64) -> Vec<f64> {
        let c = &self.config;
        sinusoid(time, c.block_out_channels[0] as usize, c.flip_sin_to_cos, c.freq_shift)
    }

    fn classes(&self) -> Option<u32> {
        self.config.num_class_embeds
    }

    fn check_size(&self, height: u32, width: u32) -> Result<()> {
        self.config.check_size(height, width)
    }

    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let size @ [height, width] = height_width(t, x);
        self.config.check_size(height, width).unwrap_or_else(|e| panic!("{e}"));
        let e = self.embedding.forward(t, w, conditions);
        let e = self.config.act_fn.apply(t, e);
        let x = if self.config.center_input_sample { affine(t, x, 2.0, -1.0) } else { x };
        let x = resized(t, x, self.padded_size(size));
        let x = match self.config.fourier_features[..] {
            [] => x,
            [first, ..] => fourier_features(t, x, first, self.config.fourier_features.len() as u32),
        };
        let h = self.conv_in.forward(t, w, x);
        let h = self.levels.forward(t, w, h, e);
        let h = self.norm_out.activated(t, w, h, Activation::Silu);
        let y = self.conv_out.forward(t, w, h);
        resized(t, y, size)
    }
}

/// Settings of the levels.
fn levels(config: &UNet2dConfig) -> LevelsSettings<'_> {
    let eps = config.norm_eps as f32;
    let resnet = ResnetSettings {
        time_width: config.time_width(),
        time_shift: config.resnet_time_scale_shift,
        normalization: Normalization::Groups { groups: config.norm_num_groups, eps },
        dropout: config.dropout as f32,
        activation: config.act_fn,
        divisor: 1.0,
    };
    let groups = Some(config.norm_num_groups);
    let attention = SelfAttentionSettings { head_width: config.attention_head_dim, groups, eps, divisor: 1.0 };
    let divisor = config.mid_block_scale_factor as f32;
    // A rule of diffusers: with scale and shift, the middle attention is normalized only if its
    // groups are given.
    let groups = match config.resnet_time_scale_shift {
        TimeShift::Add => config.attn_norm_num_groups.or(groups),
        TimeShift::ScaleShift => config.attn_norm_num_groups,
    };
    let middle = config.add_attention.then_some(SelfAttentionSettings { groups, divisor, ..attention });
    let padding = if config.downsample_padding == 0 { Padding::RightBottom } else { Padding::Same };
    LevelsSettings {
        channels: &config.block_out_channels,
        layers: config.layers_per_block,
        resnet,
        down: config.down_block_types.iter().map(|&b| (b == DownBlock::Attention).then_some(attention)).collect(),
        mid: config.mid_block_type.map(|_| (ResnetSettings { divisor, ..resnet }, middle)),
        up: config.up_block_types.iter().map(|&b| (b == UpBlock::Attention).then_some(attention)).collect(),
        halving: Halving::Conv(padding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A config with attention from level `attention` on.
    fn config(channels: &[u32], attention: usize) -> UNet2dConfig {
        let levels = channels.len();
        let (with, without) = ((attention..levels), (0..attention));
        UNet2dConfig {
            in_channels: 1,
            out_channels: 1,
            block_out_channels: channels.to_vec(),
            down_block_types: without
                .clone()
                .map(|_| DownBlock::Plain)
                .chain(with.clone().map(|_| DownBlock::Attention))
                .collect(),
            up_block_types: with.map(|_| UpBlock::Attention).chain(without.map(|_| UpBlock::Plain)).collect(),
            ..UNet2dConfig::default()
        }
    }

    fn count(config: UNet2dConfig) -> usize {
        UNet2d::new(config).unwrap().parameters().count()
    }

    /// Counts that diffusers gives for the same configs.
    #[test]
    fn unet2d_parameter_counts_match_diffusers() {
        assert_eq!(count(config(&[32, 64, 64], 1)), 1_707_009);
        assert_eq!(count(config(&[32, 64, 128], 1)), 4_023_233);
        assert_eq!(count(config(&[64, 128, 128], 1)), 6_801_409);
        assert_eq!(count(config(&[64, 128, 256], 1)), 16_054_145);

        use {
            DownBlock::Attention as ADown, DownBlock::Plain as Down, UpBlock::Attention as AUp, UpBlock::Plain as Up,
        };
        let classes = UNet2dConfig {
            norm_num_groups: 8,
            num_class_embeds: Some(11),
            down_block_types: vec![Down, ADown, Down],
            up_block_types: vec![Up, AUp, Up],
            ..config(&[32, 64, 64], 1)
        };
        let model = UNet2d::new(classes).unwrap();
        assert_eq!((model.parameters().count(), model.parameters().iter().len()), (1_624_577, 269));

        let cifar = UNet2dConfig {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![Down, ADown, Down, Down],
            up_block_types: vec![Up, Up, AUp, Up],
            attention_head_dim: None,
            ..config(&[128, 256, 256, 256], 1)
        };
        assert_eq!(count(cifar), 35_746_307);

        let unconditional = UNet2dConfig {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![Down, Down, Down, Down, ADown, Down],
            up_block_types: vec![Up, AUp, Up, Up, Up, Up],
            ..config(&[128, 128, 256, 256, 512, 512], 4)
        };
        assert_eq!(count(unconditional), 113_673_219);
    }
}
