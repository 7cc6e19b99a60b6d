//! Group normalization (Wu and He 2018), optionally followed by SiLU in the same kernel.
//!
//! y = act((x - mean) / sqrt(var + eps) w + b), with `x` and y `[B, C, ...]` and `w` and `b` `[C]`.
//! Mean and variance are computed over a group of consecutive channels of one image; act is SiLU or
//! the identity. Differentiable in `x`, `w` and `b`. A large mean costs no accuracy.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{GroupNorm, group_norm};
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let [w, b] = ["weight", "bias"].map(|name| t.named(name, Shape::f32([32])));
//! let y = group_norm(t, x, w, b, GroupNorm { groups: 8, eps: 1e-5, silu: true });
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::group_norm::{Backward, BackwardWeight, Forward};
use super::kernels::group_norm_unaligned as unaligned;
use super::rows::{batch_channels_area, channel_span};
use crate::tape::accuracy::{DIVISION, RECIPROCAL_DEVIATION, SIGMOID};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Settings of a group normalization.
#[derive(Debug)]
pub struct GroupNorm {
    /// Number of groups; it divides the number of channels.
    pub groups: u32,
    /// Added to the variance.
    pub eps: f32,
    /// Whether SiLU is applied to the result, in the same kernel.
    pub silu: bool,
}

/// Normalizes `x` `[B, C, ...]` in groups of channels, with scale `w` and shift `b` `[C]`.
#[track_caller]
pub fn group_norm(t: &mut Tape, x: Tensor, w: Tensor, b: Tensor, settings: GroupNorm) -> Tensor {
    t.apply1(settings, &[x, w, b])
}

impl Op for GroupNorm {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, w, b] if x.dims().len() >= 3 && w == Shape::f32([x.dims()[1]]) && b == w => {
                if self.groups == 0 || !x.dims()[1].is_multiple_of(self.groups) {
                    return Err(format!("{} groups do not divide {} channels", self.groups, x.dims()[1]));
                }
                Ok(vec![x])
            }
            _ => Err("takes x [B, C, ...], w [C] and b [C]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let [batch, channels, hw] = batch_channels_area(t.shape(x[0]));
        let groups = self.groups;
        let d = channels / self.groups;
        let eps = self.eps;
        let silu = self.silu;
        let blocks = batch * groups;
        let stats = t.transient(Shape::f32([batch, groups, 2]));
        let flops = self.flops(&[t.shape(x[0])]);
        let w = x[1];
        let b = x[2];
        let x = x[0];
        let y = y[0];
        let span = channel_span(t.target(), d, hw.div_ceil(4));
        if hw % 4 == 0 {
            let kernel = Forward { x, w, b, y, stats, norm_groups: groups, d, cells: hw / 4, eps, silu, span, blocks };
            t.emit(kernel, blocks, flops);
        } else {
            let kernel = unaligned::Forward { x, w, b, y, stats, norm_groups: groups, d, hw, eps, silu, span, blocks };
            t.emit(kernel, blocks, flops);
        }
        vec![stats]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let w = node.inputs[1];
        let b = node.inputs[2];
        let saved = node.saved[0];
        let [batch, channels, hw] = batch_channels_area(t.shape(x));
        let groups = self.groups;
        let d = channels / self.groups;
        let silu = self.silu;
        let blocks = batch * groups;
        let sums = t.transient(Shape::f32([batch, channels, 2]));
        let flops = 30 * t.shape(x).len() as u64;
        let span = channel_span(t.target(), d, hw.div_ceil(4));
        let input = |t: &mut Tape, dx, add| {
            if hw % 4 == 0 {
                let kernel = Backward {
                    x,
                    w,
                    b,
                    saved,
                    dy,
                    dx,
                    sums,
                    norm_groups: groups,
                    d,
                    cells: hw / 4,
                    silu,
                    span,
                    add,
                    blocks,
                };
                t.emit(kernel, blocks, flops);
            } else {
                let kernel = unaligned::Backward {
                    x,
                    w,
                    b,
                    saved,
                    dy,
                    dx,
                    sums,
                    norm_groups: groups,
                    d,
                    hw,
                    silu,
                    span,
                    add,
                    blocks,
                };
                t.emit(kernel, blocks, flops);
            }
        };
        if t.needs_gradient(x) {
            t.grad(x, input);
        } else {
            let unwanted = t.transient(t.shape(x));
            input(t, unwanted, false);
        }
        t.grad2(w, b, |t, dw, db, add| {
            let kernel =
                BackwardWeight { parts: sums, dw, db, add, blocks: batch, norm_groups: groups, d, cells: hw / 4 };
            t.emit(kernel, channels, 2 * u64::from(batch * channels));
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [_, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let size = channels / self.groups as usize * hw;
        let mut y = Array::zeros(x[0].shape);
        for (group, values) in x[0].data.chunks(size).enumerate() {
            let mean = values.iter().sum::<f64>() / size as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / size as f64;
            let rstd = 1.0 / (variance + f64::from(self.eps)).sqrt();
            for (i, v) in values.iter().enumerate() {
                let channel = (group * size + i) / hw % channels;
                let z = (v - mean) * rstd * x[1].data[channel] + x[2].data[channel];
                y.data[group * size + i] = if self.silu { z / (1.0 + (-z).exp()) } else { z };
            }
        }
        vec![y]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        let [batch, channels, hw] = batch_channels_area(inputs[0]);
        (channels / self.groups * hw).max(batch * hw) as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // The normalized value, and the sums that its gradient divides.
        let activation = if self.silu { 2.0 * SIGMOID } else { 0.0 };
        2.0 * (RECIPROCAL_DEVIATION + DIVISION) + activation
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        12 * inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = act((x - mean) / sqrt(var + eps) w + b), over groups of channels",
    case: |draw: &mut Choices| {
        let silu = draw.flag();
        let batch = draw.range(1, 3);
        let groups = draw.range(1, 4);
        let per_group = draw.range(1, 9);
        let channels = groups * per_group;
        // At least eight elements per group: with two or three the gradient nearly cancels.
        let low = 8u32.div_ceil(per_group);
        let (height, width) = (draw.range(1, 8), draw.range(low, low + 12));
        let x = if draw.flag() {
            Shape::f32([batch, channels, height * width])
        } else {
            Shape::f32([batch, channels, height, width])
        };
        // A mean of zero, or one far larger than the standard deviation.
        let fill = draw.one_of(&[Fill::Normal(1.0), Fill::Uniform(15.0, 17.0)]);
        let parameter = (Shape::f32([channels]), Fill::Normal(1.0));
        let op = Rc::new(GroupNorm { groups, eps: 1e-5, silu });
        Case { op, inputs: vec![(x, fill), parameter, parameter] }
    },
    // With a mean ten thousand times the standard deviation, sums of squares in f32 have no correct
    // digit.
    edge: || {
        let case = |x| {
            let parameter = (Shape::f32([8]), Fill::Normal(1.0));
            let op = Rc::new(GroupNorm { groups: 2, eps: 1e-5, silu: false });
            Case { op, inputs: vec![(Shape::f32(x), Fill::Uniform(10_000.0, 10_003.0)), parameter, parameter] }
        };
        vec![case([3, 8, 6, 6]), case([3, 8, 7, 7])]
    },
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14], [64, 64, 7, 7], [64, 96, 28, 28], [64, 16, 28, 28]]
            .map(|x| {
                let parameter = (Shape::f32([x[1]]), Fill::Normal(1.0));
                let op = Rc::new(GroupNorm { groups: 8, eps: 1e-5, silu: true });
                Case { op, inputs: vec![(Shape::f32(x), Fill::Normal(1.0)), parameter, parameter] }
            })
            .into()
    },
};
