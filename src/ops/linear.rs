//! Fully connected layer, with the weights as PyTorch stores them.
//!
//! y = x w^T + b, with `x` `[B, I]`, `w` `[O, I]`, `b` `[O]` and y `[B, O]`. Differentiable in all
//! inputs.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::linear;
//!
//! let x = t.named("x", Shape::f32([64, 32]));
//! let w = t.named("weight", Shape::f32([128, 32]));
//! let b = t.named("bias", Shape::f32([128]));
//! let y = linear(t, x, w, b);
//! assert_eq!(t.shape(y), Shape::f32([64, 128]));
//! ```

use super::destination::Destination;
use super::kernels::linear::BackwardBias;
use super::matmul::Factor::{Plain, Transposed};
use super::matmul::product;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct LinearOp;

/// `x` `[B, I]` times the transpose of `w` `[O, I]`, plus `b` `[O]`.
#[track_caller]
pub fn linear(t: &mut Tape, x: Tensor, w: Tensor, b: Tensor) -> Tensor {
    t.apply1(LinearOp, &[x, w, b])
}

impl Op for LinearOp {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [x, w, b] => match (x.dims(), w.dims(), b.dims()) {
                (&[batch, i], &[o, columns], &[biases]) if i == columns && o == biases => {
                    Ok(vec![Shape::f32([batch, o])])
                }
                _ => Err("takes x [batch,I], w [O,I] and b [O]".into()),
            },
            _ => Err("takes x, w and b".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        product(t, Plain(x[0]), Transposed(x[1]), Some(x[2]), Destination::store(y[0]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let w = node.inputs[1];
        let b = node.inputs[2];
        t.grad(x, |t, dx, add| product(t, Plain(dy), Plain(w), None, Destination { tensor: dx, add }));
        t.grad(w, |t, dw, add| product(t, Transposed(dy), Plain(x), None, Destination { tensor: dw, add }));
        let [batch, channels] = t.shape(dy).as_array();
        t.grad(b, |t, db, add| {
            let flops = u64::from(batch) * u64::from(channels);
            t.emit_flat(BackwardBias { dy, db, add, batch, channels }, channels, flops);
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [batch, width] = x[0].shape.as_array();
        let (width, rows) = (width as usize, x[2].data.len());
        vec![Array::from_fn(Shape::f32([batch, rows as u32]), |n| {
            let (row, o) = (n / rows * width, n % rows);
            x[2].data[o] + (0..width).map(|i| x[0].data[row + i] * x[1].data[o * width + i]).sum::<f64>()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        1 + inputs.iter().flat_map(|s| s.dims()).copied().max().unwrap_or(1) as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[0].len() as u64 * u64::from(inputs[1].dims()[0])
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = x w^T + b",
    case: |draw: &mut Choices| {
        let unit = draw.one_of(&[1, 4]); // multiples of 4 use a separate kernel
        case(unit * draw.range(1, 20), unit * draw.range(1, 20), unit * draw.range(1, 20))
    },
    // Three tiles of outputs, of which the last is incomplete.
    edge: || vec![case(3, 5, 130)],
    bench: || vec![case(64, 32, 128), case(64, 128, 128), case(64, 128, 64), case(64, 128, 32)],
};

fn case(batch: u32, i: u32, o: u32) -> Case {
    let inputs = vec![
        (Shape::f32([batch, i]), Fill::Normal(1.0)),
        (Shape::f32([o, i]), Fill::Normal((1.0 / i as f32).sqrt())),
        (Shape::f32([o]), Fill::Normal(1.0)),
    ];
    Case { op: Rc::new(LinearOp), inputs }
}
