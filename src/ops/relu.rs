//! Rectified linear unit, elementwise.
//!
//! y = max(x, 0), with `x` and y of any one shape. Differentiable in `x`; the gradient at zero is
//! zero.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::relu;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let y = relu(t, x);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::relu::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Relu;

/// max(`x`, 0).
#[track_caller]
pub fn relu(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(Relu, &[x])
}

impl Op for Relu {
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
        let (length, flops) = (t.shape(x).vec4s(), t.shape(x).len() as u64);
        t.grad(x, |t, dx, add| t.emit_flat(Backward { x, dy, dx, add, length }, length, flops));
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        vec![x[0].map(|x| x.max(0.0))]
    }

    fn piecewise_linear(&self) -> bool {
        true
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = max(x, 0)",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 70), draw.range(1, 9)]);
        Case { op: Rc::new(Relu), inputs: vec![(shape, Fill::Kinked)] }
    },
    edge: Vec::new,
    bench: || {
        let shape = Shape::f32([64, 32, 28, 28]);
        vec![Case { op: Rc::new(Relu), inputs: vec![(shape, Fill::Kinked)] }]
    },
};
