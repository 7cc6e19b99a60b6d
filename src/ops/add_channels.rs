//! Adds one number per image and channel, as in ResNet blocks that add an embedding of the
//! timestep.
//!
//! `y[b, c, ...] = x[b, c, ...] + e[b, first + c]`, with `x` and y `[B, C, ...]` and `e` `[B, E]`,
//! of which the columns from `first` on are read. Differentiable in both inputs: the gradient of
//! `e` is the sum over the pixels.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::add_channels;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let embedding = t.named("embedding", Shape::f32([64, 32]));
//! let y = add_channels(t, x, embedding, 0);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::columns::{grad_columns, has_columns};
use super::kernels::add_channels::{Backward, BackwardEmbedding, Forward};
use super::kernels::add_channels_wide;
use super::rows::{batch_channels_area, row_span, spans};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct AddChannels {
    first: u32,
}

/// Adds columns `first` to `first + C` of `e` `[B, E]` to `x` `[B, C, ...]`.
#[track_caller]
pub fn add_channels(t: &mut Tape, x: Tensor, e: Tensor, first: u32) -> Tensor {
    t.apply1(AddChannels { first }, &[x, e])
}

/// B C, vec4s and C of a tensor `[B, C, ...]`.
fn sizes(t: &Tape, x: Tensor) -> [u32; 3] {
    let [batch, channels, _] = batch_channels_area(t.shape(x));
    [batch * channels, t.shape(x).vec4s(), channels]
}

/// Records `y = x + e[b, first + c]`.
pub(super) fn record(t: &mut Tape, [x, e]: [Tensor; 2], first: u32, y: Tensor) {
    let [_, _, hw] = batch_channels_area(t.shape(x));
    let [rows, length, channels] = sizes(t, x);
    let [_, width] = t.shape(e).as_array();
    let aligned = hw % 4 == 0;
    let flops = t.shape(x).len() as u64;
    t.emit_flat(Forward { x, e, y, hw, aligned, rows, length, channels, width, first }, length, flops);
}

/// Writes the gradient of `e`: the sums of the pixels of `dy` `[B, C, ...]`.
pub(super) fn sum_pixels(t: &mut Tape, dy: Tensor, e: Tensor, first: u32) {
    let [_, _, hw] = batch_channels_area(t.shape(dy));
    let [rows, length, channels] = sizes(t, dy);
    let [_, width] = t.shape(e).as_array();
    let flops = t.shape(dy).len() as u64;
    // Channels of a row of elements of 64 bits. With 16 lanes those kernels are slower.
    let row_channels = if hw.is_multiple_of(8) { 1 } else { 2 };
    let wide = t.target().is_wide() && t.target().lanes() <= 8;
    grad_columns(t, e, channels, |t, de, add| {
        if wide && hw.is_multiple_of(4) && channels.is_multiple_of(row_channels) {
            let rows = rows / row_channels;
            let span = row_span(t.target(), row_channels * hw / 8);
            let groups = rows.div_ceil(spans(t.target(), span));
            let kernel = add_channels_wide::BackwardEmbedding { dy, de, hw, span, add, rows, channels, width, first };
            t.emit(kernel, groups, flops);
        } else {
            let span = row_span(t.target(), hw.div_ceil(4));
            let groups = rows.div_ceil(spans(t.target(), span));
            let aligned = hw % 4 == 0;
            let kernel = BackwardEmbedding { dy, de, hw, aligned, span, add, rows, length, channels, width, first };
            t.emit(kernel, groups, flops);
        }
    });
}

impl Op for AddChannels {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, e] if x.dims().len() >= 3 && has_columns(e, x.dims()[0], self.first + x.dims()[1]) => Ok(vec![x]),
            _ => Err(format!("takes x [B, C, ...] and e [B, E] with E >= {} + C", self.first)),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        record(t, [x[0], x[1]], self.first, y[0]);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (x, e) = (node.inputs[0], node.inputs[1]);
        sum_pixels(t, dy, e, self.first);
        if !t.pass_gradient(x, dy) {
            let [rows, length, channels] = sizes(t, dy);
            let (flops, width, first) = (t.shape(x).len() as u64, channels, 0);
            t.grad(x, |t, dx, add| {
                t.emit_flat(Backward { dy, dx, add, rows, length, channels, width, first }, length, flops);
            });
        }
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [_, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let [_, width] = x[1].shape.as_array().map(|n: u32| n as usize);
        let at = |row: usize| row / channels * width + self.first as usize + row % channels;
        vec![Array::from_fn(x[0].shape, |i| x[0].data[i] + x[1].data[at(i / hw)])]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        batch_channels_area(inputs[0])[2].max(2) as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[b, c, :] = x[b, c, :] + e[b, first + c]",
    case: |draw: &mut Choices| {
        let (batch, channels) = (draw.range(1, 5), draw.range(1, 20));
        let x = Shape::f32([batch, channels, draw.range(1, 9), draw.range(1, 9)]);
        let (first, more) = (draw.one_of(&[0, 0, 3]), draw.one_of(&[0, 5]));
        let e = Shape::f32([batch, first + channels + more]);
        Case { op: Rc::new(AddChannels { first }), inputs: vec![(x, Fill::Normal(1.0)), (e, Fill::Normal(1.0))] }
    },
    edge: || {
        // Elements of 64 bits: rows of one and of two channels, of one element, and of more
        // elements than a subgroup has lanes.
        let case = |x: [u32; 4]| {
            let inputs = vec![(Shape::f32(x), Fill::Normal(1.0)), (Shape::f32([x[0], x[1]]), Fill::Normal(1.0))];
            Case { op: Rc::new(AddChannels { first: 0 }), inputs }
        };
        vec![case([1, 4, 2, 4]), case([3, 2, 2, 2]), case([2, 3, 8, 17]), case([3, 6, 6, 14]), case([1, 10, 2, 6])]
    },
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14], [64, 64, 7, 7]]
            .map(|x| {
                let e = Shape::f32([x[0], x[1]]);
                let inputs = vec![(Shape::f32(x), Fill::Normal(1.0)), (e, Fill::Normal(1.0))];
                Case { op: Rc::new(AddChannels { first: 0 }), inputs }
            })
            .into()
    },
};
