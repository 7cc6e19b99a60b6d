//! A tensor whose elements all have one value, such as the gradient of the loss that
//! differentiation starts from.
//!
//! There is no input and no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::fill;
//!
//! let gradient = fill(t, 1.0 / 64.0, Shape::f32([64]));
//! assert_eq!(t.shape(gradient), Shape::f32([64]));
//! ```

use super::kernels::fill::Forward;
use crate::tape::testing::{Case, Choices, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct FillOp {
    value: f32,
    shape: Shape,
}

/// A tensor of the given shape whose elements all are `value`.
#[track_caller]
pub fn fill(t: &mut Tape, value: f32, shape: Shape) -> Tensor {
    t.apply1(FillOp { value, shape }, &[])
}

/// Records the call that fills `y`.
pub(super) fn record(t: &mut Tape, value: f32, y: Tensor) {
    let length = t.shape(y).vec4s();
    t.emit_flat(Forward { y, value, length }, length, 0);
}

impl Op for FillOp {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs.is_empty() { Ok(vec![self.shape]) } else { Err("takes no tensor".into()) }
    }

    fn forward(&self, t: &mut Tape, _: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        record(t, self.value, y[0]);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, _: &[Array], _: &Step) -> Vec<Array> {
        vec![Array::from_fn(self.shape, |_| f64::from(self.value))]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = value",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 30), draw.range(1, 9)]);
        Case { op: Rc::new(FillOp { value: draw.one_of(&[1.0, 0.0, -2.5]), shape }), inputs: vec![] }
    },
    edge: Vec::new,
    bench: || vec![Case { op: Rc::new(FillOp { value: 1.0, shape: Shape::f32([64]) }), inputs: vec![] }],
};
