//! Adds zeros below and on the right of images, or removes rows and columns there.
//!
//! `y[.., h, w] = x[.., h, w]` where `x` has this pixel, otherwise 0, with `x` `[B, C, H, W]` and y
//! `[B, C, H', W']`. Differentiable in `x`: pixels that y does not have get the gradient zero.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::pad;
//!
//! let x = t.named("x", Shape::f32([64, 3, 30, 45]));
//! let larger = pad(t, x, [32, 48]);
//! assert_eq!(t.shape(larger), Shape::f32([64, 3, 32, 48]));
//! let same = pad(t, larger, [30, 45]);
//! assert_eq!(t.shape(same), t.shape(x));
//! ```

use super::kernels::pad::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Pad {
    size: [u32; 2],
}

/// `x` `[B, C, H, W]` with height and width `size`: padded with zeros, or cropped, below and on the
/// right.
#[track_caller]
pub fn pad(t: &mut Tape, x: Tensor, size: [u32; 2]) -> Tensor {
    t.apply1(Pad { size }, &[x])
}

/// Number of elements that both shapes have.
fn common(x: Shape, y: Shape) -> u64 {
    let ([batch, channels, h, w], [_, _, height, width]) = (x.as_array::<4>(), y.as_array::<4>());
    Shape::f32([batch, channels, h.min(height), w.min(width)]).len() as u64
}

impl Op for Pad {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [height, width] = self.size;
        match inputs.first().map(|x| (x.dims(), x.dtype)) {
            Some((&[b, c, _, _], Dtype::F32)) if inputs.len() == 1 && height > 0 && width > 0 => {
                Ok(vec![Shape::f32([b, c, height, width])])
            }
            _ => Err("takes one f32 tensor [B, C, H, W] and a size of at least 1 x 1 pixels".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (x, y) = (x[0], y[0]);
        let [_, _, from_height, from_width] = t.shape(x).as_array();
        let [to_height, to_width] = self.size;
        let length = t.shape(y).len() as u32;
        t.emit_flat(Forward { x, y, from_height, from_width, to_height, to_width, length }, length, 0);
        t.moves(x, 4 * common(t.shape(x), t.shape(y)));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let shape = t.shape(node.inputs[0]);
        let [_, _, to_height, to_width] = shape.as_array();
        let [from_height, from_width] = self.size;
        let common = common(shape, t.shape(dy));
        let length = shape.len() as u32;
        t.grad(node.inputs[0], |t, dx, add| {
            let kernel = Backward { dy, dx, from_height, from_width, to_height, to_width, add, length };
            t.emit_flat(kernel, length, if add { common } else { 0 });
            t.moves(dy, 4 * common);
            if add {
                t.moves(dx, 4 * common);
            }
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let shape = self.outputs(&[x[0].shape]).unwrap_or_else(|rule| panic!("{rule}"))[0];
        let [_, _, h, w] = x[0].shape.as_array::<4>().map(|n| n as usize);
        let [height, width] = self.size.map(|n| n as usize);
        vec![Array::from_fn(shape, |i| {
            let plane = i / (height * width);
            let row = i / width % height;
            let column = i % width;
            if row < h && column < w { x[0].data[(plane * h + row) * w + column] } else { 0.0 }
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

fn case(shape: [u32; 4], size: [u32; 2]) -> Case {
    Case { op: Rc::new(Pad { size }), inputs: vec![(Shape::f32(shape), Fill::Normal(1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[h, w] = x[h, w] if x has this pixel, else 0",
    case: |draw: &mut Choices| {
        let shape = [draw.range(1, 3), draw.range(1, 5), draw.range(1, 9), draw.range(1, 13)];
        case(shape, [draw.range(1, 12), draw.range(1, 16)])
    },
    // Padded in one direction and cropped in the other, and unchanged.
    edge: || vec![case([2, 3, 5, 7], [8, 4]), case([2, 3, 5, 7], [2, 9]), case([1, 2, 3, 4], [3, 4])],
    bench: || vec![case([64, 3, 30, 45], [32, 48]), case([64, 3, 32, 48], [30, 45])],
};
