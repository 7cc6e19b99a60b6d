//! Max pooling of 2x2 blocks: half the height and width.
//!
//! `y[.., h, w] = max of x[.., 2h + i, 2w + j]` over i and j in {0, 1}, with `x` `[B, C, H, W]` and
//! y `[B, C, H / 2, W / 2]`, rounded down. A last odd row or column is left out and gets no
//! gradient. Differentiable in `x`: the gradient goes to the largest element of each block, and to
//! the first if several are equal.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::max_pool;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let y = max_pool(t, x);
//! assert_eq!(t.shape(y), Shape::f32([64, 32, 14, 14]));
//! ```

use super::kernels::max_pool::{Backward, BackwardScalar, Forward, ForwardScalar};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct MaxPool;

/// Maxima of the 2x2 blocks of `x` `[B, C, H, W]`.
#[track_caller]
pub fn max_pool(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(MaxPool, &[x])
}

/// Whether the kernels that use vec4s fit.
fn in_vectors(height: u32, width: u32) -> bool {
    height.is_multiple_of(2) && width.is_multiple_of(4)
}

impl Op for MaxPool {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs.first().map(|x| (x.dims(), x.dtype)) {
            Some((&[b, c, h, w], Dtype::F32)) if inputs.len() == 1 && h > 1 && w > 1 => {
                Ok(vec![Shape::f32([b, c, h / 2, w / 2])])
            }
            _ => Err("takes one f32 tensor [B, C, H, W] of at least 2 x 2 pixels".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (x, y) = (x[0], y[0]);
        let [_, _, height, width] = t.shape(x).as_array();
        let length = t.shape(y).len() as u32;
        let flops = 3 * u64::from(length);
        if in_vectors(height, width) {
            t.emit_flat(Forward { x, y, width, length: length / 2 }, length / 2, flops);
        } else {
            t.emit_flat(ForwardScalar { x_scalar: x, y_scalar: y, width, height, length }, length, flops);
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let shape = t.shape(x);
        let [batch, channels, height, width] = shape.as_array();
        let flops = 3 * t.shape(dy).len() as u64;
        t.grad(x, |t, dx, add| {
            if in_vectors(height, width) {
                let length = shape.len() as u32 / 8;
                t.emit_flat(Backward { x, dy, dx, width, add, length }, length, flops);
            } else {
                let length = batch * channels * height.div_ceil(2) * width.div_ceil(2);
                let x_scalar = x;
                let dy_scalar = dy;
                let dx_scalar = dx;
                let kernel = BackwardScalar { x_scalar, dy_scalar, dx_scalar, width, height, add, length };
                t.emit_flat(kernel, length, flops);
            }
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [b, c, height, width] = x[0].shape.as_array();
        let shape = Shape::f32([b, c, height / 2, width / 2]);
        let (h, w) = (height as usize, width as usize);
        vec![Array::from_fn(shape, |i| {
            let plane = i / (h / 2) / (w / 2);
            let row = i / (w / 2) % (h / 2);
            let column = i % (w / 2);
            let at = |down: usize, right: usize| x[0].data[(plane * h + 2 * row + down) * w + 2 * column + right];
            at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1))
        })]
    }

    fn piecewise_linear(&self) -> bool {
        true
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        let [b, c, h, w] = inputs[0].as_array();
        3 * Shape::f32([b, c, h / 2, w / 2]).len() as u64
    }
}

fn case(shape: [u32; 4]) -> Case {
    Case { op: Rc::new(MaxPool), inputs: vec![(Shape::f32(shape), Fill::Distinct)] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[h, w] = max of x[2h + i, 2w + j]",
    case: |draw: &mut Choices| {
        let width = draw.one_of(&[4, 2, 8, 3, 12, 13, 5]);
        case([draw.range(1, 3), draw.range(1, 5), draw.range(2, 9), width])
    },
    edge: Vec::new,
    bench: || vec![case([64, 32, 28, 28]), case([64, 64, 14, 14])],
};
