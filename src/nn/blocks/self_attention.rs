//! The self-attention block of the U-Net (diffusers: `Attention` with a residual connection).
//!
//! ```text
//! g = norm(x)                                       x [B, C, H, W]; the tokens are the H·W pixels
//! qkv = linear(g)                                   [B, 3 I, H·W], I = heads · head width
//! y = (x + linear(attention(qkv))) / divisor
//! ```

use super::resnet::divide;
use crate::nn::layers::{JoinedLinear, Linear, Norm};
use crate::nn::parameters::{Parameters, Weights};
use crate::ops::attention;
use crate::tape::{Shape, Tape, Tensor};

/// Settings of an attention block.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttentionSettings {
    /// Channels per head [default: one head of all channels]. If it does not divide the channels,
    /// the remaining channels are left out.
    pub head_width: Option<u32>,
    /// Groups of the normalization; `None` for no normalization.
    pub groups: Option<u32>,
    /// Added to variances.
    pub eps: f32,
    /// Divisor of the result.
    pub divisor: f32,
}

/// A self-attention block.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    norm: Option<Norm>,
    /// The queries, keys and values of all channels, one after another.
    qkv: JoinedLinear,
    out: Linear,
    head_width: u32,
    divisor: f32,
}

impl SelfAttention {
    /// Adds the tensors below `NAME.`.
    ///
    /// # Panics
    /// If a head is wider than the channels.
    #[track_caller]
    pub fn new(p: &mut Parameters, name: &str, channels: u32, settings: SelfAttentionSettings) -> SelfAttention {
        let head_width = settings.head_width.unwrap_or(channels);
        assert!(head_width <= channels, "{name}: heads of {head_width} channels, but there are {channels}");
        let inner = channels / head_width * head_width;
        let named = |part: &str| format!("{name}.{part}");
        SelfAttention {
            norm: settings.groups.map(|groups| Norm::new(p, &named("group_norm"), channels, groups, settings.eps)),
            qkv: {
                let parts = ["to_q", "to_k", "to_v"].map(|part| Linear::new(p, &named(part), channels, inner));
                JoinedLinear::new(p, &parts)
            },
            out: Linear::new(p, &named("to_out.0"), inner, channels).last(p),
            head_width,
            divisor: settings.divisor,
        }
    }

    /// Applies it to a map `[B, C, H, W]`.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor) -> Tensor {
        let [batch, _, height, width] = t.shape(x).as_array();
        let g = self.norm.as_ref().map_or(x, |norm| norm.forward(t, w, x));
        let map = self.qkv.pixels(t, w, g);
        let [_, three, ..] = t.shape(map).as_array::<4>();
        let qkv = t.reshape(map, Shape::f32([batch, three, height * width]));
        let a = attention(t, qkv, self.head_width);
        let [_, inner, _] = t.shape(a).as_array();
        let a = t.reshape(a, Shape::f32([batch, inner, height, width]));
        let y = self.out.pixels_plus(t, w, a, x);
        divide(t, y, self.divisor)
    }
}
