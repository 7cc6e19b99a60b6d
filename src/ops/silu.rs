//! Sigmoid linear unit, also called Swish, elementwise.
//!
//! y = x sigmoid(x), with `x` and y of any one shape. Differentiable in `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::silu;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let y = silu(t, x);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::silu::{Backward, Forward};
use crate::tape::accuracy::{DIVISION, exp};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Silu;

/// `x` times sigmoid(`x`).
#[track_caller]
pub fn silu(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(Silu, &[x])
}

impl Op for Silu {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dtype == Dtype::F32 => Ok(vec![x]),
            _ => Err("takes one f32 tensor".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let length = shape.vec4s();
        t.emit_flat(Forward { x: x[0], y: y[0], length }, length, self.flops(&[shape]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let (length, flops) = (t.shape(x).vec4s(), 14 * t.shape(x).len() as u64);
        t.grad(x, |t, dx, add| t.emit_flat(Backward { x, dy, dx, add, length }, length, flops));
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        vec![x[0].map(|x| x / (1.0 + (-x).exp()))]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // y may be small for all x, so exp counts relative to itself. The gradient has x (1 - s).
        let largest = x[0].data.iter().copied().fold(0.0, f64::max).min(18.0);
        2.0 * (exp(1.0) + DIVISION) + largest * DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        10 * inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = x sigmoid(x)",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 70), draw.range(1, 9)]);
        // The wide range reaches where exp overflows.
        let fill = draw.one_of(&[Fill::Normal(1.0), Fill::Uniform(-120.0, 120.0)]);
        Case { op: Rc::new(Silu), inputs: vec![(shape, fill)] }
    },
    edge: || {
        // exp overflows or vanishes for every element.
        let far = [Fill::Uniform(-10_000.0, -100.0), Fill::Uniform(100.0, 10_000.0)];
        far.map(|fill| Case { op: Rc::new(Silu), inputs: vec![(Shape::f32([3, 7]), fill)] }).into()
    },
    bench: || {
        let shape = Shape::f32([64, 32, 28, 28]);
        vec![Case { op: Rc::new(Silu), inputs: vec![(shape, Fill::Normal(1.0))] }]
    },
};
