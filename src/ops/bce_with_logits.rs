//! Binary cross-entropy with logits: the negative log-likelihood of an image under independent
//! Bernoulli pixels (Kingma and Welling 2014, appendix C.1).
//!
//! `loss[b]` = sum over the elements of image b of log(1 + exp(l)) - p l, in nats, with the
//! probabilities p = (x + 1) / 2. `logits` l and `x` in [-1, 1] are `[B, ...]`, the loss is `[B]`:
//! a sum over the image, not a mean. Differentiable in `logits`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::bce_with_logits;
//!
//! let logits = t.named("logits", Shape::f32([64, 1, 28, 28]));
//! let x = t.named("x", Shape::f32([64, 1, 28, 28]));
//! let loss = bce_with_logits(t, logits, x);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//! ```

use super::kernels::bce_with_logits::{Backward, Forward};
use crate::tape::accuracy::{DIVISION, exp};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct BceWithLogits;

/// Cross-entropy `[B]` of the pixels `x` under `logits`, both `[B, ...]`.
#[track_caller]
pub fn bce_with_logits(t: &mut Tape, logits: Tensor, x: Tensor) -> Tensor {
    t.apply1(BceWithLogits, &[logits, x])
}

impl Op for BceWithLogits {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [logits, x] if logits == x && x.dtype == Dtype::F32 => Ok(vec![Shape::f32([x.dims()[0]])]),
            _ => Err("takes logits and pixels of one shape [B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (batch, length) = (t.shape(y[0]).len() as u32, t.shape(x[0]).len() as u32);
        let kernel = Forward { logits: x[0], x: x[1], loss: y[0], image_size: length / batch, length };
        t.emit(kernel, batch, 24 * u64::from(length));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [logits, x] = node.inputs[..] else { unreachable!("two inputs") };
        let (batch, length) = (t.shape(dy).len() as u32, t.shape(x).len() as u32);
        t.grad(logits, |t, dx, add| {
            let kernel = Backward { logits, x, dy, dx, add, image_size: length / batch, length };
            t.emit_flat(kernel, length, 10 * u64::from(length));
        });
    }

    fn constants(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let batch = x[0].shape.dims()[0];
        let each = x[0].data.len() / batch as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let term = |i: usize| {
                let (l, p) = (x[0].data[i], (x[1].data[i] + 1.0) / 2.0);
                l.max(0.0) + (-l.abs()).exp().ln_1p() - p * l
            };
            (b * each..(b + 1) * each).map(term).sum()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // exp(-|l|) relative to itself, because all losses of an image may be small.
        exp(x[0].max_abs()) + 2.0 * DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        24 * inputs[0].len() as u64
    }
}

fn case(shape: Shape, scale: f32) -> Case {
    Case { op: Rc::new(BceWithLogits), inputs: vec![(shape, Fill::Normal(scale)), (shape, Fill::Uniform(-1.0, 1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = sum (log(1 + exp(l)) - p l), p = (x + 1) / 2",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 19), draw.range(1, 9)]);
        case(shape, draw.one_of(&[1.0, 10.0]))
    },
    edge: || {
        let single = Shape::f32([16, 1, 1, 1]);
        // Every image is a single pixel, whose loss no other hides: log(1 + exp(l)) at l = 0, and far below,
        // where it is almost 0.
        [(Fill::Normal(0.01), Fill::Uniform(-1.0, 1.0)), (Fill::Uniform(-20.0, -15.0), Fill::Uniform(-1.0, -1.0))]
            .map(|(logits, images)| Case {
                op: Rc::new(BceWithLogits),
                inputs: vec![(single, logits), (single, images)],
            })
            .into()
    },
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), 1.0)],
};
