//! Global average pooling: the mean of each channel, before a classifier's last layer.
//!
//! `y[b, c] = mean of x[b, c, :, :]`, with `x` `[B, C, H, W]` and y `[B, C]`. Differentiable in
//! `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::global_pool;
//!
//! let x = t.named("x", Shape::f32([64, 128, 7, 7]));
//! let y = global_pool(t, x);
//! assert_eq!(t.shape(y), Shape::f32([64, 128]));
//! ```

use super::kernels::global_pool::{Backward, Forward};
use super::rows::{row_span, spans};
use crate::tape::accuracy::DIVISION;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct GlobalPool;

/// Mean of each channel of `x` `[B, C, H, W]`: `[B, C]`.
#[track_caller]
pub fn global_pool(t: &mut Tape, x: Tensor) -> Tensor {
    t.apply1(GlobalPool, &[x])
}

impl Op for GlobalPool {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dims().len() == 4 && x.dtype == Dtype::F32 => Ok(vec![Shape::f32([x.dims()[0], x.dims()[1]])]),
            _ => Err("takes one f32 tensor [B, C, H, W]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let [b, c, h, w] = shape.as_array();
        let (rows, hw) = (b * c, h * w);
        let span = row_span(t.target(), hw.div_ceil(4));
        let groups = rows.div_ceil(spans(t.target(), span));
        t.emit(Forward { x: x[0], y: y[0], hw, span, rows, length: shape.vec4s() }, groups, shape.len() as u64);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let shape = t.shape(node.inputs[0]);
        let [b, c, h, w] = shape.as_array();
        let rows = b * c;
        let hw = h * w;
        let length = shape.vec4s();
        t.grad(node.inputs[0], |t, dx, add| {
            t.emit_flat(Backward { dy, dx, hw, add, rows, length }, length, shape.len() as u64);
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [b, c, h, w] = x[0].shape.as_array();
        let each = (h * w) as usize;
        vec![Array::from_fn(Shape::f32([b, c]), |row| {
            x[0].data[row * each..(row + 1) * each].iter().sum::<f64>() / each as f64
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        let [_, _, h, w] = inputs[0].as_array();
        (h * w) as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

fn case(shape: [u32; 4]) -> Case {
    Case { op: Rc::new(GlobalPool), inputs: vec![(Shape::f32(shape), Fill::Normal(1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y[b, c] = mean of x[b, c]",
    case: |draw: &mut Choices| {
        let batch = draw.range(1, 5);
        let channels = draw.range(1, 20);
        let height = draw.range(1, 14);
        case([batch, channels, height, draw.one_of(&[4, 1, 3, 8, 7, 28])])
    },
    edge: Vec::new,
    bench: || vec![case([64, 64, 7, 7]), case([64, 64, 14, 14])],
};
