//! Repeats a batch. Classifier-free guidance evaluates the network with and without labels in one
//! batch.
//!
//! The output `[2B, ...]` holds `x` `[B, ...]` twice. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::duplicate;
//!
//! let x = t.named("x", Shape::f32([64, 1, 28, 28]));
//! let twice = duplicate(t, x);
//! assert_eq!(t.shape(twice), Shape::f32([128, 1, 28, 28]));
//! ```

use super::kernels::duplicate::Forward;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Duplicate;

/// `x` `[B, ...]` twice: `[2B, ...]`.
#[track_caller]
pub fn duplicate(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(Duplicate, &[x])
}

impl Op for Duplicate {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [x] = *inputs else { return Err("takes one tensor".into()) };
        let mut dims = x.dims().to_vec();
        dims[0] *= 2;
        Ok(vec![Shape::new(&dims, x.dtype)])
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let length = t.shape(x[0]).len() as u32;
        t.emit_flat(Forward { x: x[0], y: y[0], length }, 2 * length, 0);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let mut dims = x[0].shape.dims().to_vec();
        dims[0] *= 2;
        vec![Array { shape: Shape::new(&dims, x[0].shape.dtype), data: [&x[0].data[..], &x[0].data[..]].concat() }]
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
    formula: "y = (x, x)",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 6), draw.range(1, 40)]);
        Case { op: Rc::new(Duplicate), inputs: vec![(shape, Fill::Normal(1.0))] }
    },
    edge: Vec::new,
    bench: || vec![Case { op: Rc::new(Duplicate), inputs: vec![(Shape::f32([64, 1, 28, 28]), Fill::Normal(1.0))] }],
};
