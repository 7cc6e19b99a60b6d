//! Elementwise sum, as in residual connections.
//!
//! Inputs `a` and `b` and output y have one shape; y = a + b. The gradient of both inputs is the
//! gradient of y, so that mostly no kernel is recorded for it.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::add;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let residual = t.named("residual", Shape::f32([64, 32, 28, 28]));
//! let y = add(t, x, residual);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::add::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Add;

/// Sum of `a` and `b`, which have one shape.
#[track_caller]
pub fn add(t: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    t.apply1(Add, &[a, b])
}

/// Records `y` = a + b.
pub(super) fn record(t: &mut Tape, [a, b]: [Tensor; 2], y: Tensor) {
    let shape = t.shape(y);
    let length = shape.vec4s();
    t.emit_flat(Forward { a, b, y, length }, length, shape.len() as u64);
}

/// Writes the gradient `dy` of a sum to the term `x`, without a copy if possible.
pub(super) fn pass_or_copy(t: &mut Tape, x: Tensor, dy: Tensor) {
    if !t.pass_gradient(x, dy) {
        let shape = t.shape(x);
        let length = shape.vec4s();
        t.grad(x, |t, dx, add| t.emit_flat(Backward { dy, dx, add, length }, length, shape.len() as u64));
    }
}

impl Op for Add {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [a, b] if a == b => Ok(vec![a]),
            _ => Err("takes two tensors of one shape".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        record(t, [x[0], x[1]], y[0]);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        node.inputs.iter().for_each(|&x| pass_or_copy(t, x, dy));
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        vec![Array::from_fn(x[0].shape, |i| x[0].data[i] + x[1].data[i])]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        2
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = a + b",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 70), draw.range(1, 9)]);
        Case { op: Rc::new(Add), inputs: vec![(shape, Fill::Normal(1.0)); 2] }
    },
    edge: Vec::new,
    bench: || {
        let shape = Shape::f32([64, 32, 28, 28]);
        vec![Case { op: Rc::new(Add), inputs: vec![(shape, Fill::Normal(1.0)); 2] }]
    },
};
