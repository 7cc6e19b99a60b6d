//! Adds one number per image and channel, as in ResNet blocks that add an embedding of the
//! timestep.
//!
//! `y[b, c, ...] = x[b, c, ...] + e[b, c]`, with `x` and y `[B, C, ...]` and `e` `[B, C]`.
//! Differentiable in both inputs: the gradient of `e` is the sum over the pixels.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::add_channels;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let embedding = t.named("embedding", Shape::f32([64, 32]));
//! let y = add_channels(t, x, embedding);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::add_channels::{Backward, BackwardEmbedding, Forward};
use super::kernels::add_channels_wide;
use super::rows::{batch_channels_area, row_span, spans};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct AddChannels;

/// Adds `e` `[B, C]` to `x` `[B, C, ...]`.
#[track_caller]
pub fn add_channels(t: &mut Tape, x: Tensor, e: Tensor) -> Tensor {
    t.apply1(AddChannels, &[x, e])
}

/// Writes the gradient of e, which is the sum of `dy` over the pixels, or adds to it.
fn sum_pixels(t: &mut Tape, dy: Tensor, de: Tensor, add: bool) {
    let shape = t.shape(dy);
    let [batch, channels, hw] = batch_channels_area(shape);
    let rows = batch * channels;
    let flops = shape.len() as u64;
    // Channels of a row of elements of 64 bits. With 16 lanes those kernels are slower.
    let row_channels = if hw.is_multiple_of(8) { 1 } else { 2 };
    let wide = t.target().is_wide() && t.target().lanes() <= 8;
    if wide && hw.is_multiple_of(4) && channels.is_multiple_of(row_channels) {
        let rows = rows / row_channels;
        let span = row_span(t.target(), row_channels * hw / 8);
        let groups = rows.div_ceil(spans(t.target(), span));
        t.emit(add_channels_wide::BackwardEmbedding { dy, de, hw, span, add, rows }, groups, flops);
    } else {
        let span = row_span(t.target(), hw.div_ceil(4));
        let groups = rows.div_ceil(spans(t.target(), span));
        let length = shape.vec4s();
        let kernel = BackwardEmbedding { dy, de, hw, aligned: hw % 4 == 0, span, add, rows, length };
        t.emit(kernel, groups, flops);
    }
}

impl Op for AddChannels {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, e] if x.dims().len() >= 3 && e == Shape::f32([x.dims()[0], x.dims()[1]]) => Ok(vec![x]),
            _ => Err("takes x [B, C, ...] and e [B, C]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let [batch, channels, hw] = batch_channels_area(shape);
        let (rows, length) = (batch * channels, shape.vec4s());
        let kernel = Forward { x: x[0], e: x[1], y: y[0], hw, aligned: hw % 4 == 0, rows, length };
        t.emit_flat(kernel, length, self.flops(&[shape]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (x, e) = (node.inputs[0], node.inputs[1]);
        let shape = t.shape(x);
        let [batch, channels, _] = batch_channels_area(shape);
        let rows = batch * channels;
        let length = shape.vec4s();
        let flops = shape.len() as u64;
        t.grad(e, |t, de, add| sum_pixels(t, dy, de, add));
        if !t.pass_gradient(x, dy) {
            t.grad(x, |t, dx, add| t.emit_flat(Backward { dy, dx, add, rows, length }, length, flops));
        }
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let hw = batch_channels_area(x[0].shape)[2] as usize;
        vec![Array::from_fn(x[0].shape, |i| x[0].data[i] + x[1].data[i / hw])]
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
    formula: "y[b, c, :] = x[b, c, :] + e[b, c]",
    case: |draw: &mut Choices| {
        let (batch, channels) = (draw.range(1, 5), draw.range(1, 20));
        let x = Shape::f32([batch, channels, draw.range(1, 9), draw.range(1, 9)]);
        let e = Shape::f32([batch, channels]);
        Case { op: Rc::new(AddChannels), inputs: vec![(x, Fill::Normal(1.0)), (e, Fill::Normal(1.0))] }
    },
    edge: || {
        // Elements of 64 bits: rows of one and of two channels, of one element, and of more
        // elements than a subgroup has lanes.
        let case = |x: [u32; 4]| {
            let inputs = vec![(Shape::f32(x), Fill::Normal(1.0)), (Shape::f32([x[0], x[1]]), Fill::Normal(1.0))];
            Case { op: Rc::new(AddChannels), inputs }
        };
        vec![case([1, 4, 2, 4]), case([3, 2, 2, 2]), case([2, 3, 8, 17]), case([3, 6, 6, 14]), case([1, 10, 2, 6])]
    },
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14], [64, 64, 7, 7]]
            .map(|x| {
                let e = Shape::f32([x[0], x[1]]);
                let inputs = vec![(Shape::f32(x), Fill::Normal(1.0)), (e, Fill::Normal(1.0))];
                Case { op: Rc::new(AddChannels), inputs }
            })
            .into()
    },
};
