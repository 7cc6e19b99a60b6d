//! Softmax cross-entropy of each image, the loss of a classifier.
//!
//! `loss[b] = log(sum of exp(logits[b])) - logits[b, labels[b]]`, in nats. `logits` are `[B, K]`,
//! `labels` u32 `[B]` and the loss is `[B]`. A label of K or more means the last class.
//! Differentiable in `logits`. Minus that gradient is the gradient of log p(label), which
//! classifier guidance follows (Dhariwal and Nichol 2021).
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::cross_entropy;
//!
//! let logits = t.named("logits", Shape::f32([64, 10]));
//! let labels = t.named("labels", Shape::u32([64]));
//! let loss = cross_entropy(t, logits, labels);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//! ```

use super::kernels::cross_entropy::{Backward, Forward};
use crate::tape::accuracy::{DIVISION, LOG, exp};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct CrossEntropy;

/// Cross-entropy `[B]` of `labels` u32 `[B]` under `logits` `[B, K]`.
#[track_caller]
pub fn cross_entropy(t: &mut Tape, logits: Tensor, labels: Tensor) -> Tensor {
    t.apply1(CrossEntropy, &[logits, labels])
}

impl Op for CrossEntropy {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, labels]
                if matches!(x.dims(), [_, _]) && x.dtype == Dtype::F32 && labels == Shape::u32([x.dims()[0]]) =>
            {
                Ok(vec![Shape::f32([x.dims()[0]])])
            }
            _ => Err("takes logits [B, K] and labels u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let [batch, classes] = t.shape(x[0]).as_array();
        let flops = self.flops(&[t.shape(x[0])]);
        t.emit_flat(Forward { x: x[0], labels: x[1], loss: y[0], classes, batch }, batch, flops);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (x, labels) = (node.inputs[0], node.inputs[1]);
        let [batch, classes] = t.shape(x).as_array();
        let flops = 5 * t.shape(x).len() as u64;
        t.grad(x, |t, dx, add| t.emit_flat(Backward { x, labels, dy, dx, classes, add, batch }, batch, flops));
    }

    fn constants(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let [batch, classes] = x[0].shape.as_array();
        let classes = classes as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let logits = &x[0].data[b * classes..(b + 1) * classes];
            let label = logits[(x[1].data[b] as usize).min(classes - 1)];
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            largest - label + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].dims()[1] as usize
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // Relative to a small probability, because the losses of all images may be small.
        let largest = x[0].data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = x[0].data.iter().copied().fold(f64::INFINITY, f64::min);
        2.0 * exp(largest - smallest) + LOG + DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        4 * inputs[0].len() as u64
    }
}

fn case(batch: u32, classes: u32, fill: Fill, labels: u32) -> Case {
    let inputs = vec![(Shape::f32([batch, classes]), fill), (Shape::u32([batch]), Fill::Below(labels))];
    Case { op: Rc::new(CrossEntropy), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = log(sum of exp(x[b])) - x[b, label]",
    case: |draw: &mut Choices| {
        let (batch, classes) = (draw.range(1, 70), draw.one_of(&[10, 1, 2, 3, 7, 101]));
        // Includes logits whose exponentials overflow or underflow in f32.
        let fill = draw.one_of(&[Fill::Normal(1.0), Fill::Uniform(95.0, 96.0), Fill::Uniform(-121.0, -120.0)]);
        case(batch, classes, fill, classes + 2) // two past the end
    },
    // Labels with the largest logit, whose probability is not above one half.
    edge: || vec![case(64, 10, Fill::Normal(0.3), 10)],
    bench: || vec![case(64, 10, Fill::Normal(1.0), 10), case(64, 1000, Fill::Normal(1.0), 1000)],
};
