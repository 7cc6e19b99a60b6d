//! Concatenates the channels of two tensors, as in the skip connections of a U-Net.
//!
//! The output `[B, Ca + Cb, ...]` holds the channels of `a` `[B, Ca, ...]`, then the channels of
//! `b` `[B, Cb, ...]`. Differentiable in both inputs.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::concat;
//!
//! let a = t.named("a", Shape::f32([64, 32, 28, 28]));
//! let b = t.named("b", Shape::f32([64, 16, 28, 28]));
//! let y = concat(t, a, b);
//! assert_eq!(t.shape(y), Shape::f32([64, 48, 28, 28]));
//! ```

use super::kernels::concat::{Backward, BackwardScalar, FORWARD, Forward, ForwardScalar};
use super::kernels::concat_wide;
use super::rows::{PIECE_ROW, piece_grid};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Concat;

/// The channels of `a` `[B, Ca, ...]`, then the channels of `b` `[B, Cb, ...]`.
#[track_caller]
pub fn concat(t: &mut Tape, a: Tensor, b: Tensor) -> Tensor {
    t.apply1(Concat, &[a, b])
}

/// Numbers in the unit that the kernels copy.
#[derive(Clone, Copy)]
enum Unit {
    /// One.
    Scalar = 1,
    /// Four.
    Vec4 = 4,
    /// Eight, with elements of 64 bits.
    Wide = 8,
}

impl Unit {
    /// The largest unit of which the parts of an image are multiples. All give the same bits.
    fn new(t: &Tape, lengths: [u32; 2]) -> Unit {
        let divides = |unit: Unit| lengths.iter().all(|n| n.is_multiple_of(unit as u32));
        if t.target().is_wide() && divides(Unit::Wide) {
            Unit::Wide
        } else if divides(Unit::Vec4) {
            Unit::Vec4
        } else {
            Unit::Scalar
        }
    }
}

/// Elements of one image.
fn length(shape: Shape) -> u32 {
    shape.dims()[1..].iter().product()
}

/// Grid of a copy of pieces of `length` units.
fn grid(t: &Tape, length: u32, shape: Shape, operands: u32) -> [u32; 3] {
    piece_grid(t.target(), length, shape.dims()[0], operands)
}

impl Op for Concat {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let rule = "takes two f32 tensors [B, C, ...] of at least two dimensions that differ at most in C";
        let [a, b] = *inputs else { return Err(rule.into()) };
        let (left, right) = (a.dims(), b.dims());
        let fits = left.len() >= 2 && left.len() == right.len() && left[0] == right[0] && left[2..] == right[2..];
        if !fits || a.dtype != Dtype::F32 || b.dtype != Dtype::F32 {
            return Err(rule.into());
        }
        let mut dims = left.to_vec();
        dims[1] += right[1];
        Ok(vec![Shape::new(&dims, Dtype::F32)])
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let [a, b] = [x[0], x[1]];
        let y = y[0];
        let lengths = [a, b].map(|x| length(t.shape(x)));
        let unit = Unit::new(t, lengths);
        let [length_a, length_b] = lengths.map(|n| n / unit as u32);
        let groups = grid(t, length_a.max(length_b), t.shape(y), 2);
        match unit {
            Unit::Wide => t.emit_grid(concat_wide::Forward { a, b, y, length_a, length_b }, groups, 0),
            Unit::Vec4 => t.emit_grid(Forward { a, b, y, length_a, length_b }, groups, 0),
            Unit::Scalar => {
                let kernel = ForwardScalar { a_scalar: a, b_scalar: b, y_scalar: y, length_a, length_b };
                t.emit_grid(kernel, groups, 0);
            }
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let lengths = [0, 1].map(|i| length(t.shape(node.inputs[i])));
        let unit = Unit::new(t, lengths);
        let [length_a, length_b] = lengths.map(|n| n / unit as u32);
        for (&x, (length, second)) in node.inputs.iter().zip([(length_a, false), (length_b, true)]) {
            let groups = grid(t, length, t.shape(x), 1);
            t.grad(x, |t, dx, add| {
                match unit {
                    Unit::Wide => {
                        t.emit_grid(concat_wide::Backward { dy, dx, add, second, length_a, length_b }, groups, 0);
                    }
                    Unit::Vec4 => t.emit_grid(Backward { dy, dx, add, second, length_a, length_b }, groups, 0),
                    Unit::Scalar => {
                        let (dy_scalar, dx_scalar) = (dy, dx);
                        let kernel = BackwardScalar { dy_scalar, dx_scalar, add, second, length_a, length_b };
                        t.emit_grid(kernel, groups, 0);
                    }
                }
                t.moves(dy, t.shape(dx).bytes());
            });
        }
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let shapes: Vec<Shape> = x.iter().map(|x| x.shape).collect();
        let shape = self.outputs(&shapes).unwrap_or_else(|rule| panic!("{rule}"))[0];
        let (a, b) = (length(shapes[0]) as usize, length(shapes[1]) as usize);
        vec![Array::from_fn(shape, |i| {
            let (image, at) = (i / (a + b), i % (a + b));
            if at < a { x[0].data[image * a + at] } else { x[1].data[image * b + at - a] }
        })]
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
    formula: "y[b] = a[b], then b[b], along the channels",
    case: |draw: &mut Choices| {
        let batch = draw.range(1, 4);
        let a = draw.range(1, 12);
        let b = draw.range(1, 12);
        let h = draw.range(1, 9);
        let w = draw.range(1, 9);
        let images = draw.range(0, 3) > 0;
        let shape = |c| if images { Shape::f32([batch, c, h, w]) } else { Shape::f32([batch, c * w]) };
        Case { op: Rc::new(Concat), inputs: vec![(shape(a), Fill::Normal(1.0)), (shape(b), Fill::Normal(1.0))] }
    },
    edge: || {
        // Several rows of the grid, of single elements, of vec4s and of elements of 64 bits. Then
        // one and two invocations.
        let case = |images, a, b| {
            let shape = |length| (Shape::f32([images, length]), Fill::Normal(1.0));
            Case { op: Rc::new(Concat), inputs: vec![shape(a), shape(b)] }
        };
        let row = FORWARD.workgroup_size[0] * PIECE_ROW;
        vec![case(2, 2 * row + 1, 2), case(2, 4, 4 * (row + 1)), case(1, 8 * (row + 1), 16), case(2, 16, 8)]
    },
    bench: || {
        let case = |channels, side| {
            let shape = Shape::f32([64, channels, side, side]);
            Case { op: Rc::new(Concat), inputs: vec![(shape, Fill::Normal(1.0)); 2] }
        };
        vec![case(32, 28), case(64, 14), case(64, 7)]
    },
};
