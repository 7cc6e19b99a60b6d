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
        let [batch, channels, hw] = batch_channels_area(shape);
        let rows = batch * channels;
        let length = shape.vec4s();
        let flops = shape.len() as u64;
        t.grad(e, |t, de, add| {
            let span = row_span(t.target(), hw.div_ceil(4));
            let groups = rows.div_ceil(spans(t.target(), span));
            let kernel = BackwardEmbedding { dy, de, hw, aligned: hw % 4 == 0, span, add, rows, length };
            t.emit(kernel, groups, flops);
        });
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
    edge: Vec::new,
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
