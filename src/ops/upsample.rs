//! Nearest-neighbor interpolation: twice the height and width.
//!
//! `y[.., 2h + i, 2w + j] = x[.., h, w]` for i and j in {0, 1}, with `x` `[B, C, H, W]` and y `[B,
//! C, 2H, 2W]`. Differentiable in `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::upsample;
//!
//! let x = t.named("x", Shape::f32([64, 64, 14, 14]));
//! let y = upsample(t, x);
//! assert_eq!(t.shape(y), Shape::f32([64, 64, 28, 28]));
//! ```

use super::kernels::upsample::{Backward, BackwardScalar, Forward, ForwardScalar};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Upsample;

/// Each pixel of `x` `[B, C, H, W]` as a block of 2x2.
#[track_caller]
pub fn upsample(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(Upsample, &[x])
}

impl Op for Upsample {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs.first().map(|x| (x.dims(), x.dtype)) {
            Some((&[b, c, h, w], Dtype::F32)) if inputs.len() == 1 => Ok(vec![Shape::f32([b, c, 2 * h, 2 * w])]),
            _ => Err("takes one f32 tensor [B, C, H, W]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (x, y) = (x[0], y[0]);
        let (width, length) = (t.shape(x).as_array::<4>()[3], t.shape(x).len() as u32);
        if width % 2 == 0 {
            t.emit_flat(Forward { x, y, width: width / 2, length: length / 2 }, length / 2, 0);
        } else {
            t.emit_flat(ForwardScalar { x_scalar: x, y_scalar: y, width, length }, length, 0);
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let shape = t.shape(node.inputs[0]);
        let (width, length) = (shape.as_array::<4>()[3], shape.len() as u32);
        let flops = 3 * u64::from(length);
        t.grad(node.inputs[0], |t, dx, add| {
            if width % 2 == 0 {
                t.emit_flat(Backward { dy, dx, add, width: width / 2, length: length / 2 }, length / 2, flops);
            } else {
                t.emit_flat(BackwardScalar { dy_scalar: dy, dx_scalar: dx, add, width, length }, length, flops);
            }
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [b, c, h, w] = x[0].shape.as_array::<4>().map(|n| n as usize);
        let shape = Shape::f32([b, c, 2 * h, 2 * w].map(|n| n as u32));
        vec![Array::from_fn(shape, |i| {
            let plane = i / (4 * h * w);
            let row = i / (2 * w) % (2 * h);
            let column = i % (2 * w);
            x[0].data[(plane * h + row / 2) * w + column / 2]
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        4
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[2h + i, 2w + j] = x[h, w]",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 3), draw.range(1, 5), draw.range(1, 9), draw.range(1, 13)]);
        Case { op: Rc::new(Upsample), inputs: vec![(shape, Fill::Normal(1.0))] }
    },
    edge: Vec::new,
    bench: || {
        let case = |channels, side| Case {
            op: Rc::new(Upsample),
            inputs: vec![(Shape::f32([64, channels, side, side]), Fill::Normal(1.0))],
        };
        vec![case(64, 14), case(64, 7)]
    },
};
