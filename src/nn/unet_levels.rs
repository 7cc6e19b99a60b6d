//! The levels of the U-Net: which blocks they have, of which channels and names.

use super::layers::Conv;
use super::parameters::{Parameters, Weights};
use super::resnet::{Resnet, ResnetSettings};
use super::self_attention::{SelfAttention, SelfAttentionSettings};
use super::unet_choices::{DownBlock, TimeShift, UpBlock};
use super::unet_config::UNet2dConfig;
use crate::ops::conv2d::{Conv2d, Padding};
use crate::tape::{Tape, Tensor};

/// A residual block, and the self-attention after it.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    resnet: Resnet,
    attention: Option<SelfAttention>,
}

impl Layer {
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, h: Tensor, e: Tensor) -> Tensor {
        let h = self.resnet.forward(t, w, h, e);
        self.attention.as_ref().map_or(h, |attention| attention.forward(t, w, h))
    }
}

/// The layers of a level, and the convolution that halves or follows doubling.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub layers: Vec<Layer>,
    pub resample: Option<Conv>,
}

/// The blocks in the middle.
#[derive(Clone, Debug)]
pub(super) struct Mid {
    pub first: Layer,
    pub second: Layer,
}

fn resnet_settings(config: &UNet2dConfig) -> ResnetSettings {
    ResnetSettings {
        time_width: config.time_width(),
        time_shift: config.resnet_time_scale_shift,
        groups: config.norm_num_groups,
        eps: config.norm_eps as f32,
        activation: config.act_fn,
        divisor: 1.0,
    }
}

fn attention_settings(config: &UNet2dConfig) -> SelfAttentionSettings {
    SelfAttentionSettings {
        head_width: config.attention_head_dim,
        groups: Some(config.norm_num_groups),
        eps: config.norm_eps as f32,
        divisor: 1.0,
    }
}

pub(super) fn down(p: &mut Parameters, config: &UNet2dConfig) -> Vec<Level> {
    let channels = &config.block_out_channels;
    let level = |(i, &outputs): (usize, &u32)| {
        let name = format!("down_blocks.{i}");
        let layer = |p: &mut Parameters, j: u32| {
            let inputs = if j == 0 { channels[i.saturating_sub(1)] } else { outputs };
            let resnet = Resnet::new(p, &format!("{name}.resnets.{j}"), inputs, outputs, resnet_settings(config));
            let attention = (config.down_block_types[i] == DownBlock::Attention)
                .then(|| SelfAttention::new(p, &format!("{name}.attentions.{j}"), outputs, attention_settings(config)));
            Layer { resnet, attention }
        };
        let layers = (0..config.layers_per_block).map(|j| layer(p, j)).collect();
        let padding = if config.downsample_padding == 0 { Padding::RightBottom } else { Padding::Same };
        let halve = Conv2d { stride: 2, padding };
        let resample = (i + 1 < channels.len())
            .then(|| Conv::new(p, &format!("{name}.downsamplers.0.conv"), outputs, outputs, halve));
        Level { layers, resample }
    };
    channels.iter().enumerate().map(level).collect()
}

pub(super) fn mid(p: &mut Parameters, config: &UNet2dConfig) -> Mid {
    let channels = config.block_out_channels[config.levels() - 1];
    let divisor = config.mid_block_scale_factor as f32;
    let settings = ResnetSettings { divisor, ..resnet_settings(config) };
    // A rule of diffusers: with scale and shift the middle attention is normalised only if its groups are given.
    let groups = match config.resnet_time_scale_shift {
        TimeShift::Add => config.attn_norm_num_groups.or(Some(config.norm_num_groups)),
        TimeShift::ScaleShift => config.attn_norm_num_groups,
    };
    let attention = SelfAttentionSettings { groups, divisor, ..attention_settings(config) };
    let block = |p: &mut Parameters, name: &str| Resnet::new(p, name, channels, channels, settings);
    let first = block(p, "mid_block.resnets.0");
    let attention = config.add_attention.then(|| SelfAttention::new(p, "mid_block.attentions.0", channels, attention));
    let second = block(p, "mid_block.resnets.1");
    Mid { first: Layer { resnet: first, attention }, second: Layer { resnet: second, attention: None } }
}

pub(super) fn up(p: &mut Parameters, config: &UNet2dConfig) -> Vec<Level> {
    let channels: Vec<u32> = config.block_out_channels.iter().rev().copied().collect();
    let last = channels.len() - 1;
    let level = |(i, &outputs): (usize, &u32)| {
        let name = format!("up_blocks.{i}");
        let (previous, next) = (channels[i.saturating_sub(1)], channels[(i + 1).min(last)]);
        let layer = |p: &mut Parameters, j: u32| {
            let hidden = if j == 0 { previous } else { outputs };
            let kept = if j == config.layers_per_block { next } else { outputs };
            let resnet =
                Resnet::new(p, &format!("{name}.resnets.{j}"), hidden + kept, outputs, resnet_settings(config));
            let attention = (config.up_block_types[i] == UpBlock::Attention)
                .then(|| SelfAttention::new(p, &format!("{name}.attentions.{j}"), outputs, attention_settings(config)));
            Layer { resnet, attention }
        };
        let layers = (0..=config.layers_per_block).map(|j| layer(p, j)).collect();
        let resample = (i < last).then(|| Conv::same(p, &format!("{name}.upsamplers.0.conv"), outputs, outputs));
        Level { layers, resample }
    };
    channels.iter().enumerate().map(level).collect()
}
