//! The residual block of the U-Net (diffusers: `ResnetBlock2D`).
//!
//! ```text
//! h = conv1(act(norm1(x)))                              x [B, inputs, H, W]
//! h = norm2(h + time(e))                                e: the activated time embedding
//!     or norm2(h) · (1 + scale) + shift, (scale, shift) = time(e)
//! y = (shortcut(x) + conv2(dropout(act(h)))) / divisor
//!     shortcut: identity, or a 1x1 convolution if the channels differ
//! ```
//!
//! diffusers' blocks use group normalization; a model may use batch normalization instead. All
//! blocks project one embedding, so `time` of all blocks is computed at once ([`join_times`]), and
//! a block reads some columns of the result.

use crate::nn::choices::{Activation, TimeShift};
use crate::nn::layers::{Conv, Dropout, EitherNorm, JoinedLinear, Linear, Normalization};
use crate::nn::parameters::{Parameters, Weights};
use crate::nn::repeated::repeated;
use crate::ops::{add_channels, affine, scale_shift};
use crate::tape::{Tape, Tensor};

/// Settings of all residual blocks of a model.
#[derive(Clone, Copy, Debug)]
pub struct ResnetSettings {
    /// Width of the time embedding.
    pub time_width: u32,
    /// How the block uses it.
    pub time_shift: TimeShift,
    /// The normalizations.
    pub normalization: Normalization,
    /// Probability with which an element is dropped in training.
    pub dropout: f32,
    /// The activation function.
    pub activation: Activation,
    /// Divisor of the result.
    pub divisor: f32,
}

/// A residual block.
#[derive(Clone, Debug)]
pub struct Resnet {
    norm1: EitherNorm,
    conv1: Conv,
    time: Linear,
    /// Its first column in the projections of all blocks, and the number of columns.
    first: u32,
    columns: u32,
    norm2: EitherNorm,
    dropout: Dropout,
    conv2: Conv,
    shortcut: Option<Conv>,
    settings: ResnetSettings,
}

impl Resnet {
    /// Adds the tensors below `NAME.`.
    pub fn new(p: &mut Parameters, name: &str, inputs: u32, outputs: u32, settings: ResnetSettings) -> Resnet {
        let ResnetSettings { normalization, time_width, .. } = settings;
        let named = |part: &str| format!("{name}.{part}");
        let columns = match settings.time_shift {
            TimeShift::Add => outputs,
            TimeShift::ScaleShift => 2 * outputs,
        };
        Resnet {
            norm1: EitherNorm::new(p, &named("norm1"), inputs, normalization),
            conv1: Conv::same(p, &named("conv1"), inputs, outputs),
            time: Linear::new(p, &named("time_emb_proj"), time_width, columns),
            first: 0,
            columns,
            norm2: EitherNorm::new(p, &named("norm2"), outputs, normalization),
            dropout: Dropout::new(p, settings.dropout),
            conv2: Conv::same(p, &named("conv2"), outputs, outputs).last(p),
            shortcut: (inputs != outputs).then(|| Conv::pointwise(p, &named("conv_shortcut"), inputs, outputs)),
            settings,
        }
    }

    /// Applies it to a map `[B, inputs, H, W]`, with the projections `[B, columns of all blocks]` of
    /// the activated time embedding. If there are 2B projections, the result is `[2B, outputs, H,
    /// W]`: the first half of the projections and the second, applied to the same maps.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, times: Tensor) -> Tensor {
        let ResnetSettings { activation, time_shift, divisor, .. } = self.settings;
        let images = t.shape(times).dims()[0];
        let h = self.norm1.activated(t, w, x, activation);
        let h = match time_shift {
            TimeShift::Add if t.shape(x).dims()[0] == images => {
                let h = self.conv1.forward_plus_channels(t, w, h, (times, self.first));
                self.norm2.activated(t, w, h, activation)
            }
            TimeShift::Add => {
                let h = self.conv1.forward(t, w, h);
                let h = repeated(t, h, images);
                let h = add_channels(t, h, times, self.first);
                self.norm2.activated(t, w, h, activation)
            }
            TimeShift::ScaleShift => {
                let h = self.conv1.forward(t, w, h);
                let h = self.norm2.forward(t, w, h);
                let h = repeated(t, h, images);
                let h = scale_shift(t, h, times, self.first);
                activation.apply(t, h)
            }
        };
        let h = self.dropout.forward(t, w, h);
        let x = self.shortcut.as_ref().map_or(x, |shortcut| shortcut.forward(t, w, x));
        let x = repeated(t, x, images);
        let y = self.conv2.forward_plus(t, w, h, x);
        divide(t, y, divisor)
    }
}

/// Joins the projections of the time embedding of all blocks into one layer, whose result
/// [`Resnet::forward`] takes.
pub fn join_times<'a>(p: &mut Parameters, blocks: impl IntoIterator<Item = &'a mut Resnet>) -> JoinedLinear {
    let mut layers = Vec::new();
    let mut end = 0;
    for block in blocks {
        layers.push(block.time.clone());
        block.first = end;
        end += block.columns;
    }
    JoinedLinear::new(p, &layers)
}

/// x / divisor.
#[track_caller]
pub(in crate::nn) fn divide(t: &mut Tape, x: Tensor, divisor: f32) -> Tensor {
    if divisor == 1.0 { x } else { affine(t, x, 1.0 / divisor, 0.0) }
}
