//! The levels of a U-Net of residual blocks, with diffusers' names: their blocks, channels and
//! order.
//!
//! ```text
//! every h of the down levels is kept
//! each level down: residual block, [attention], ... ; halve, except in the last
//! residual block, [attention], residual block
//! each level up: concat with the last kept h, residual block, [attention], ... ;
//!                double, except in the last
//! ```

use super::resnet::{Resnet, ResnetSettings, join_times};
use super::self_attention::{SelfAttention, SelfAttentionSettings};
use crate::nn::layers::{Conv, JoinedLinear};
use crate::nn::parameters::{Parameters, Weights};
use crate::nn::repeated::repeated;
use crate::ops::{Conv2d, Padding, concat, downsample, upsample};
use crate::tape::{Tape, Tensor};

/// Settings of the levels.
#[derive(Clone, Debug)]
pub(in crate::nn) struct LevelsSettings<'a> {
    /// Channels of each level, from the finest.
    pub channels: &'a [u32],
    /// Residual blocks per down level; up levels have one more.
    pub layers: u32,
    /// The residual blocks.
    pub resnet: ResnetSettings,
    /// The attention of each down level, from the finest.
    pub down: Vec<Option<SelfAttentionSettings>>,
    /// The blocks in the middle, if any, and the attention between them.
    pub mid: Option<(ResnetSettings, Option<SelfAttentionSettings>)>,
    /// The attention of each up level, from the coarsest.
    pub up: Vec<Option<SelfAttentionSettings>>,
    /// How maps are halved.
    pub halving: Halving,
}

/// How maps are halved.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) enum Halving {
    /// By a convolution of 3x3 with stride 2.
    Conv(Padding),
    /// By the mean of each 2x2 pixels.
    Average,
}

/// A residual block, and the self-attention after it.
#[derive(Clone, Debug)]
struct LevelLayer {
    resnet: Resnet,
    attention: Option<SelfAttention>,
}

impl LevelLayer {
    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, h: Tensor, times: Tensor) -> Tensor {
        let h = self.resnet.forward(t, w, h, times);
        self.attention.as_ref().map_or(h, |attention| attention.forward(t, w, h))
    }
}

/// The resampling after the layers of a level.
#[derive(Clone, Debug)]
enum Resample {
    Halve(Conv),
    Average,
    Double(Conv),
}

impl Resample {
    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, h: Tensor) -> Tensor {
        match self {
            Resample::Halve(conv) => conv.forward(t, w, h),
            Resample::Average => downsample(t, h),
            Resample::Double(conv) => {
                let h = upsample(t, h);
                conv.forward(t, w, h)
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Level {
    layers: Vec<LevelLayer>,
    resample: Option<Resample>,
}

/// The levels down and up, and the blocks between them.
#[derive(Clone, Debug)]
pub(in crate::nn) struct Levels {
    down: Vec<Level>,
    mid: Vec<LevelLayer>,
    up: Vec<Level>,
    times: JoinedLinear,
}

impl Levels {
    /// Adds the tensors below `down_blocks.`, `mid_block.` and `up_blocks.`.
    pub fn new(p: &mut Parameters, settings: &LevelsSettings<'_>) -> Levels {
        let (mut down, mut mid, mut up) = (down(p, settings), mid(p, settings), up(p, settings));
        let layers = down.iter_mut().flat_map(|level| &mut level.layers);
        let layers = layers.chain(&mut mid).chain(up.iter_mut().flat_map(|level| &mut level.layers));
        let times = join_times(p, layers.map(|layer| &mut layer.resnet));
        Levels { down, mid, up, times }
    }

    /// Maps `[B, channels of the finest level, H, W]` to the same shape, with the activated
    /// embedding e `[B, time width]`; or to `[2B, ...]` with an embedding `[2B, time width]`.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, mut h: Tensor, e: Tensor) -> Tensor {
        let times = self.times.rows(t, w, e);
        let images = t.shape(times).dims()[0];
        let mut kept = vec![h];
        for level in &self.down {
            for layer in &level.layers {
                h = layer.forward(t, w, h, times);
                kept.push(h);
            }
            if let Some(halve) = &level.resample {
                h = halve.forward(t, w, h);
                kept.push(h);
            }
        }
        for layer in &self.mid {
            h = layer.forward(t, w, h, times);
        }
        for level in &self.up {
            for layer in &level.layers {
                let skip = kept.pop().expect("one map is kept per layer of the up levels");
                let skip = repeated(t, skip, images);
                h = concat(t, h, skip);
                h = layer.forward(t, w, h, times);
            }
            if let Some(double) = &level.resample {
                h = double.forward(t, w, h);
            }
        }
        assert!(kept.is_empty(), "every kept map is used");
        h
    }
}

fn down(p: &mut Parameters, settings: &LevelsSettings<'_>) -> Vec<Level> {
    let channels = settings.channels;
    let level = |(i, &outputs): (usize, &u32)| {
        let name = format!("down_blocks.{i}");
        let layer = |p: &mut Parameters, j: u32| {
            let inputs = if j == 0 { channels[i.saturating_sub(1)] } else { outputs };
            let resnet = Resnet::new(p, &format!("{name}.resnets.{j}"), inputs, outputs, settings.resnet);
            let attention = settings.down[i]
                .map(|attention| SelfAttention::new(p, &format!("{name}.attentions.{j}"), outputs, attention));
            LevelLayer { resnet, attention }
        };
        let layers = (0..settings.layers).map(|j| layer(p, j)).collect();
        let resample = (i + 1 < channels.len()).then(|| match settings.halving {
            Halving::Conv(padding) => {
                let name = format!("{name}.downsamplers.0.conv");
                Resample::Halve(Conv::new(p, &name, outputs, outputs, Conv2d { stride: 2, padding }))
            }
            Halving::Average => Resample::Average,
        });
        Level { layers, resample }
    };
    channels.iter().enumerate().map(level).collect()
}

fn mid(p: &mut Parameters, settings: &LevelsSettings<'_>) -> Vec<LevelLayer> {
    let Some((resnet, attention)) = settings.mid else { return vec![] };
    let channels = settings.channels[settings.channels.len() - 1];
    let block = |p: &mut Parameters, name: &str| Resnet::new(p, name, channels, channels, resnet);
    let first = block(p, "mid_block.resnets.0");
    let attention = attention.map(|attention| SelfAttention::new(p, "mid_block.attentions.0", channels, attention));
    let second = block(p, "mid_block.resnets.1");
    vec![LevelLayer { resnet: first, attention }, LevelLayer { resnet: second, attention: None }]
}

fn up(p: &mut Parameters, settings: &LevelsSettings<'_>) -> Vec<Level> {
    let channels: Vec<u32> = settings.channels.iter().rev().copied().collect();
    let last = channels.len() - 1;
    let level = |(i, &outputs): (usize, &u32)| {
        let name = format!("up_blocks.{i}");
        let (previous, next) = (channels[i.saturating_sub(1)], channels[(i + 1).min(last)]);
        let layer = |p: &mut Parameters, j: u32| {
            let hidden = if j == 0 { previous } else { outputs };
            let kept = if j == settings.layers { next } else { outputs };
            let resnet = Resnet::new(p, &format!("{name}.resnets.{j}"), hidden + kept, outputs, settings.resnet);
            let attention = settings.up[i]
                .map(|attention| SelfAttention::new(p, &format!("{name}.attentions.{j}"), outputs, attention));
            LevelLayer { resnet, attention }
        };
        let layers = (0..=settings.layers).map(|j| layer(p, j)).collect();
        let resample =
            (i < last).then(|| Resample::Double(Conv::same(p, &format!("{name}.upsamplers.0.conv"), outputs, outputs)));
        Level { layers, resample }
    };
    channels.iter().enumerate().map(level).collect()
}
