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

mod flat;
mod wide;

use self::flat::FlatNorm;
use self::wide::{Operands, WideNorm};
use super::kernels::group_norm::{Backward, Forward};
use super::kernels::group_norm_unaligned as unaligned;
use super::normalized::largest_gradient_term;
use super::row_sums;
use super::rows::{batch_channels_area, channel_span};
use crate::gpu::KernelVariant;
use crate::tape::accuracy::{DIVISION, RECIPROCAL_DEVIATION, SIGMOID};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, KernelClass, LateSum, Node, Op, RowSum, Shape, Step, Tape, Tensor};
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

/// The form with elements of 64 bits, which reads x and dy once.
const WIDE: &str = "wide";
/// The form of the subgroup variant.
const SUBGROUP: &str = "subgroup";
/// The form for GPUs, where a group is one range of elements.
const FLAT: &str = "flat";
/// The form that does any size. It has the same shader as the one of the subgroup variant.
const TILED: &str = "tiled";

impl GroupNorm {
    /// The class of the work on tensors of the shape of `x`, with the forms that fit.
    fn class(&self, work: &str, t: &Tape, x: Tensor) -> KernelClass {
        let [_, channels, hw] = batch_channels_area(t.shape(x));
        let &GroupNorm { groups, silu, .. } = self;
        let mut forms = match t.target().variant {
            KernelVariant::Subgroup => vec![SUBGROUP],
            KernelVariant::Tiled if self.flat(t, x).is_some() => vec![FLAT],
            KernelVariant::Tiled => vec![TILED],
        };
        if self.wide(t, x).is_some() {
            forms.insert(0, WIDE);
        }
        let act = if silu { ", silu" } else { "" };
        KernelClass {
            name: format!("group_norm.{work} {groups} groups of {}, {hw} pixels{act}", channels / groups),
            forms,
            inputs: vec![
                Shape::f32([KernelClass::timed_batch(hw), channels, hw]),
                Shape::f32([channels]),
                Shape::f32([channels]),
            ],
        }
    }

    fn wide(&self, t: &Tape, x: Tensor) -> Option<WideNorm> {
        WideNorm::new(t, x, self.groups, self.silu)
    }

    fn flat(&self, t: &Tape, x: Tensor) -> Option<FlatNorm> {
        FlatNorm::new(t, x, self.groups, self.silu)
    }

    /// The forward kernel that reads x twice.
    fn forward_twice(&self, t: &mut Tape, [x, w, b]: [Tensor; 3], [y, stats]: [Tensor; 2]) {
        let [batch, channels, hw] = batch_channels_area(t.shape(x));
        let &GroupNorm { groups, eps, silu } = self;
        let d = channels / groups;
        let blocks = batch * groups;
        let flops = 12 * t.shape(x).len() as u64;
        let span = channel_span(t.target(), d, hw.div_ceil(4));
        if hw % 4 == 0 {
            let kernel = Forward { x, w, b, y, stats, norm_groups: groups, d, cells: hw / 4, eps, silu, span, blocks };
            t.emit(kernel, blocks, flops);
        } else {
            let kernel = unaligned::Forward { x, w, b, y, stats, norm_groups: groups, d, hw, eps, silu, span, blocks };
            t.emit(kernel, blocks, flops);
        }
    }

    /// The kernel for the gradient of x that reads x and dy twice.
    fn backward_twice(&self, t: &mut Tape, o: Operands, dx: Tensor, add: bool) {
        let Operands { x, w, b, saved, dy, sums } = o;
        let [batch, channels, hw] = batch_channels_area(t.shape(x));
        let &GroupNorm { groups: norm_groups, silu, .. } = self;
        let d = channels / norm_groups;
        let blocks = batch * norm_groups;
        let flops = 30 * t.shape(x).len() as u64;
        let span = channel_span(t.target(), d, hw.div_ceil(4));
        if hw % 4 == 0 {
            let cells = hw / 4;
            let kernel = Backward { x, w, b, saved, dy, dx, sums, norm_groups, d, cells, silu, span, add, blocks };
            t.emit(kernel, blocks, flops);
        } else {
            use unaligned::Backward;
            let kernel = Backward { x, w, b, saved, dy, dx, sums, norm_groups, d, hw, silu, span, add, blocks };
            t.emit(kernel, blocks, flops);
        }
    }
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
        let [batch, ..] = batch_channels_area(t.shape(x[0]));
        let stats = t.transient(Shape::f32([batch, self.groups, 2]));
        let inputs = [x[0], x[1], x[2]];
        let outputs = [y[0], stats];
        let (wide, flat) = (self.wide(t, x[0]), self.flat(t, x[0]));
        t.choose(self.class("forward", t, x[0]), |t, form| match (form, wide, flat) {
            (WIDE, Some(wide), _) => wide::forward(t, wide, self.eps, inputs, outputs),
            (FLAT, _, Some(flat)) => flat::forward(t, flat, self.eps, inputs, outputs),
            _ => self.forward_twice(t, inputs, outputs),
        });
        vec![stats]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [x, w, b] = [node.inputs[0], node.inputs[1], node.inputs[2]];
        let [batch, channels, _] = batch_channels_area(t.shape(x));
        // The sums over pixels for the gradients of b and w, side by side.
        let [sums] = t.rows_to_sum([Shape::f32([batch, channels, 2])]);
        let operands = Operands { x, w, b, saved: node.saved[0], dy, sums };
        let (wide, flat) = (self.wide(t, x), self.flat(t, x));
        t.choose(self.class("backward", t, x), |t, form| {
            let input = |t: &mut Tape, dx, add| match (form, wide, flat) {
                (WIDE, Some(wide), _) => wide::backward(t, wide, operands, dx, add),
                (FLAT, _, Some(flat)) => flat::backward(t, flat, operands, dx, add),
                _ => self.backward_twice(t, operands, dx, add),
            };
            if t.needs_gradient(x) {
                t.grad(x, input);
            } else {
                let unwanted = t.transient(t.shape(x));
                input(t, unwanted, false);
            }
        });
        t.grad2(w, b, |t, dw, db, add| {
            let sum = |result, from| LateSum {
                parts: sums,
                sum: RowSum { rows: batch, row: 2 * channels, step: 2, from },
                result,
                add,
            };
            t.sum_rows(&[sum(db, 0), sum(dw, 1)], row_sums::record);
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

    fn gradient_scale(&self, x: &[Array], dy: &Array, input: usize) -> f64 {
        if input != 0 {
            return 0.0;
        }
        let [_, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let size = channels / self.groups as usize * hw;
        // The derivative of SiLU is at most 1.1.
        let activation = if self.silu { 1.1 } else { 1.0 };
        let of_group = |(group, xs): (usize, &[f64])| {
            let pair = |(i, &x0): (usize, &f64)| {
                let place = group * size + i;
                (x0, activation * x[1].data[place / hw % channels] * dy.data[place])
            };
            let values: Vec<(f64, f64)> = xs.iter().enumerate().map(pair).collect();
            largest_gradient_term(&values, f64::from(self.eps))
        };
        x[0].data.chunks(size).enumerate().map(of_group).fold(0.0, f64::max)
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
        // Also larger images, whose area is a multiple of 4.
        let height = draw.range(1, 8) * draw.one_of(&[1, 4]);
        let width = draw.range(low, low + 12);
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
        let case = |x: [u32; 4], groups, silu| {
            let parameter = (Shape::f32([x[1]]), Fill::Normal(1.0));
            let op = Rc::new(GroupNorm { groups, eps: 1e-5, silu });
            Case { op, inputs: vec![(Shape::f32(x), Fill::Uniform(10_000.0, 10_003.0)), parameter, parameter] }
        };
        vec![
            // Two rows of two channels with elements of 64 bits.
            case([3, 8, 6, 6], 2, false),
            case([3, 8, 7, 7], 2, false),
            // The same with more than one subgroup per row, and with one subgroup per group.
            case([2, 8, 12, 43], 2, true),
            case([2, 4, 6, 6], 2, true),
            // Rows of one channel: one subgroup per group, more subgroups than a subgroup has
            // lanes, and several subgroups per row.
            case([2, 2, 32, 32], 2, false),
            case([2, 9, 8, 9], 1, true),
            case([1, 8, 24, 43], 2, false),
            // As many elements as a lane can keep.
            case([1, 2, 20, 24], 2, true),
            // Fewer channels than lanes for them, whose planes begin within an element.
            case([1, 4, 2, 1], 1, false),
            case([1, 28, 7, 7], 1, false),
            // A group that is not a multiple of 4; one that the lanes of a workgroup cannot keep.
            case([2, 3, 7, 7], 1, true),
            case([1, 2, 92, 91], 1, true),
        ]
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
