//! Takes consecutive channels of a tensor.
//!
//! The output `[B, count, ...]` holds channels `from .. from + count` of `x` `[B, C, ...]`.
//! Differentiable in `x`; the other channels get the gradient zero.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::slice;
//!
//! let output = t.named("output", Shape::f32([64, 2, 28, 28]));
//! let variance = slice(t, output, 1, 1);
//! assert_eq!(t.shape(variance), Shape::f32([64, 1, 28, 28]));
//! ```

use super::kernels::slice::{Backward, BackwardScalar, FORWARD, Forward, ForwardScalar};
use super::rows::{PIECE_ROW, piece_grid};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Slice {
    from: u32,
    count: u32,
}

/// Channels `from .. from + count` of `x` `[B, C, ...]`.
#[track_caller]
pub fn slice(t: &mut Tape, x: Tensor, from: u32, count: u32) -> Tensor {
    t.apply1(Slice { from, count }, &[x])
}

/// The two halves of the channels of `x` `[B, 2 C, ...]`, each `[B, C, ...]`: for example the mean
/// and the variance of a network that outputs both.
#[track_caller]
pub fn split_channels(t: &mut Tape, x: Tensor) -> [Tensor; 2] {
    let half = t.shape(x).dims()[1] / 2;
    let first = slice(t, x, 0, half);
    let second = slice(t, x, half, half);
    [first, second]
}

/// Where the piece of each image begins, and the lengths of piece and image.
#[derive(Clone, Copy)]
struct Piece {
    first: u32,
    length: u32,
    image_length: u32,
}

impl Piece {
    fn in_vectors(self) -> Option<Piece> {
        let Piece { first, length, image_length } = self;
        let fits = [first, length, image_length].iter().all(|n| n.is_multiple_of(4));
        fits.then_some(Piece { first: first / 4, length: length / 4, image_length: image_length / 4 })
    }
}

impl Slice {
    fn piece(&self, x: Shape) -> Piece {
        let channel: u32 = x.dims()[2..].iter().product();
        Piece { first: self.from * channel, length: self.count * channel, image_length: x.dims()[1] * channel }
    }
}

/// Grid of a copy of `length` units per image.
fn grid(t: &Tape, length: u32, shape: Shape) -> [u32; 3] {
    piece_grid(t.target(), length, shape.dims()[0], 1)
}

impl Op for Slice {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dims().len() >= 2 && x.dtype == Dtype::F32 => {
                let end = self.from.checked_add(self.count);
                if self.count == 0 || end.is_none_or(|end| end > x.dims()[1]) {
                    let from = self.from;
                    let count = self.count;
                    let channels = x.dims()[1];
                    return Err(format!("takes channels {from} .. {from} + {count}, but there are {channels}"));
                }
                let mut dims = x.dims().to_vec();
                dims[1] = self.count;
                Ok(vec![Shape::new(&dims, Dtype::F32)])
            }
            _ => Err("takes one f32 tensor [B, C, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let y = y[0];
        let shape = t.shape(x[0]);
        let x = x[0];
        let piece = self.piece(shape);
        if let Some(Piece { first, length, image_length }) = piece.in_vectors() {
            let grid = grid(t, length, shape);
            t.emit_grid(Forward { x, y, first, length, image_length }, grid, 0);
            t.moves(x, t.shape(y).bytes());
        } else {
            let Piece { first, length, image_length } = piece;
            let kernel = ForwardScalar { x_scalar: x, y_scalar: y, first, length, image_length };
            let grid = grid(t, length, shape);
            t.emit_grid(kernel, grid, 0);
            t.moves(x, t.shape(y).bytes());
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let shape = t.shape(node.inputs[0]);
        let piece = self.piece(shape);
        t.grad(node.inputs[0], |t, dx, add| {
            let written = |t: &Tape, piece: Piece| grid(t, if add { piece.length } else { piece.image_length }, shape);
            if let Some(piece) = piece.in_vectors() {
                let Piece { first, length, image_length } = piece;
                let grid = written(t, piece);
                t.emit_grid(Backward { dy, dx, add, first, length, image_length }, grid, 0);
            } else {
                let Piece { first, length, image_length } = piece;
                let kernel = BackwardScalar { dy_scalar: dy, dx_scalar: dx, add, first, length, image_length };
                let grid = written(t, piece);
                t.emit_grid(kernel, grid, 0);
            }
            if add {
                t.moves(dx, t.shape(dy).bytes());
            }
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let shape = self.outputs(&[x[0].shape]).unwrap_or_else(|rule| panic!("{rule}"))[0];
        let Piece { first, length, image_length } = self.piece(x[0].shape);
        let [first, length, image_length] = [first, length, image_length].map(|n| n as usize);
        vec![Array::from_fn(shape, |i| x[0].data[i / length * image_length + first + i % length])]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

fn case(from: u32, count: u32, shape: Shape) -> Case {
    Case { op: Rc::new(Slice { from, count }), inputs: vec![(shape, Fill::Normal(1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[b] = channels from .. from + count of x[b]",
    case: |draw: &mut Choices| {
        let from = draw.range(0, 6);
        let count = draw.range(1, 12);
        let rest = draw.range(0, 6);
        let (batch, channels) = (draw.range(1, 4), from + count + rest);
        let (height, width) = (draw.range(1, 9), draw.one_of(&[4, 1, 3, 8, 7]));
        if draw.range(0, 3) > 0 {
            case(from, count, Shape::f32([batch, channels, height, width]))
        } else {
            case(from, count, Shape::f32([batch, channels]))
        }
    },
    // Several rows of the grid, of single elements and of vec4s.
    edge: || {
        let long = FORWARD.workgroup_size[0] * PIECE_ROW + 1;
        vec![case(1, long, Shape::f32([2, long + 1])), case(4, 4 * long, Shape::f32([1, 4 * long + 8]))]
    },
    bench: || vec![case(0, 32, Shape::f32([64, 64, 28, 28])), case(4, 4, Shape::f32([64, 8, 7, 7]))],
};
