//! Scales and shifts each channel by an embedding (FiLM, Perez et al. 2018; "adaptive group
//! normalization" of Dhariwal and Nichol 2021).
//!
//! `y[b, c, ...] = x[b, c, ...] (1 + e[b, first + c]) + e[b, first + C + c]`, with `x` and y
//! `[B, C, ...]` and `e` `[B, E]`: from column `first` on, all scales and then all shifts.
//! Differentiable in both inputs.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::scale_shift;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let embedding = t.named("embedding", Shape::f32([64, 64]));
//! let y = scale_shift(t, x, embedding, 0);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::columns::{grad_columns, has_columns};
use super::kernels::scale_shift::{Backward, BackwardEmbedding, Forward};
use super::rows::{batch_channels_area, row_span, spans};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct ScaleShift {
    first: u32,
}

/// Scales and shifts `x` `[B, C, ...]` by columns `first` to `first + 2 C` of `e` `[B, E]`.
#[track_caller]
pub fn scale_shift(t: &mut Tape, x: Tensor, e: Tensor, first: u32) -> Tensor {
    t.apply1(ScaleShift { first }, &[x, e])
}

impl Op for ScaleShift {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, e] if x.dims().len() >= 3 && has_columns(e, x.dims()[0], self.first + 2 * x.dims()[1]) => Ok(vec![x]),
            _ => Err(format!("takes x [B, C, ...] and e [B, E] with E >= {} + 2 C", self.first)),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let [batch, c, hw] = batch_channels_area(shape);
        let (rows, length) = (batch * c, shape.vec4s());
        let [_, width] = t.shape(x[1]).as_array();
        let first = self.first;
        let kernel = Forward { x: x[0], e: x[1], y: y[0], c, hw, aligned: hw % 4 == 0, rows, length, width, first };
        t.emit_flat(kernel, length, self.flops(&[shape]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (x, e) = (node.inputs[0], node.inputs[1]);
        let shape = t.shape(x);
        let [batch, c, hw] = batch_channels_area(shape);
        let rows = batch * c;
        let length = shape.vec4s();
        let elements = shape.len() as u64;
        let aligned = hw % 4 == 0;
        let [_, width] = t.shape(e).as_array();
        let first = self.first;
        grad_columns(t, e, 2 * c, |t, de, add| {
            let span = row_span(t.target(), hw.div_ceil(4));
            let groups = rows.div_ceil(spans(t.target(), span));
            let kernel = BackwardEmbedding { x, dy, de, c, hw, aligned, span, add, rows, length, width, first };
            t.emit(kernel, groups, 3 * elements);
        });
        t.grad(x, |t, dx, add| {
            let kernel = Backward { e, dy, dx, c, hw, aligned, add, rows, length, width, first };
            t.emit_flat(kernel, length, 2 * elements);
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [_, channels, hw] = batch_channels_area(x[0].shape).map(|n| n as usize);
        let [_, width] = x[1].shape.as_array().map(|n: u32| n as usize);
        let y = |i: usize| {
            let (image, channel) = (i / hw / channels, i / hw % channels);
            let at = image * width + self.first as usize + channel;
            x[0].data[i] * (1.0 + x[1].data[at]) + x[1].data[at + channels]
        };
        vec![Array::from_fn(x[0].shape, y)]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        batch_channels_area(inputs[0])[2].max(2) as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        3 * inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[b, c, :] = x[b, c, :] (1 + e[b, first + c]) + e[b, first + C + c]",
    case: |draw: &mut Choices| {
        let (batch, channels) = (draw.range(1, 5), draw.range(1, 20));
        let x = Shape::f32([batch, channels, draw.range(1, 9), draw.range(1, 9)]);
        let (first, more) = (draw.one_of(&[0, 0, 3]), draw.one_of(&[0, 5]));
        let e = Shape::f32([batch, first + 2 * channels + more]);
        Case { op: Rc::new(ScaleShift { first }), inputs: vec![(x, Fill::Normal(1.0)), (e, Fill::Normal(1.0))] }
    },
    edge: Vec::new,
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14], [64, 64, 7, 7]]
            .map(|x| {
                let e = Shape::f32([x[0], 2 * x[1]]);
                let inputs = vec![(Shape::f32(x), Fill::Normal(1.0)), (e, Fill::Normal(1.0))];
                Case { op: Rc::new(ScaleShift { first: 0 }), inputs }
            })
            .into()
    },
};
