//! Multiplies by a constant and adds another, for example to rescale pixels or to average losses.
//!
//! y = scale x + shift, with `x` and y of any one shape. Differentiable in `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::affine;
//!
//! let pixels = t.named("pixels", Shape::f32([64, 1, 28, 28]));
//! let centered = affine(t, pixels, 2.0, -1.0); // [0, 1] to [-1, 1]
//! assert_eq!(t.shape(centered), t.shape(pixels));
//! ```

use super::kernels::affine::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Affine {
    scale: f32,
    shift: f32,
}

/// `scale` times `x`, plus `shift`.
#[track_caller]
pub fn affine(t: &mut Tape, x: Tensor, scale: f32, shift: f32) -> Tensor {
    t.apply1(Affine { scale, shift }, &[x])
}

impl Op for Affine {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dtype == crate::tape::Dtype::F32 => Ok(vec![x]),
            _ => Err("takes one f32 tensor".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (shape, &Affine { scale, shift }) = (t.shape(y[0]), self);
        let length = shape.vec4s();
        t.emit_flat(Forward { x: x[0], y: y[0], length, scale, shift }, length, 2 * shape.len() as u64);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (shape, scale) = (t.shape(dy), self.scale);
        let (length, flops) = (shape.vec4s(), shape.len() as u64);
        t.grad(node.inputs[0], |t, dx, add| t.emit_flat(Backward { dy, dx, add, length, scale }, length, flops));
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        vec![x[0].map(|x| f64::from(self.scale) * x + f64::from(self.shift))]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        2
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = scale·x + shift",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 70), draw.range(1, 9)]);
        let op = Affine { scale: draw.one_of(&[2.0, 0.625, -3.0]), shift: draw.one_of(&[-1.0, 0.0, 0.375]) };
        Case { op: Rc::new(op), inputs: vec![(shape, Fill::Normal(1.0))] }
    },
    edge: Vec::new,
    bench: || {
        let op = Affine { scale: 0.5, shift: 0.0 };
        vec![Case { op: Rc::new(op), inputs: vec![(Shape::f32([64, 32, 28, 28]), Fill::Normal(1.0))] }]
    },
};
