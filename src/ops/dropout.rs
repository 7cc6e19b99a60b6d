//! Dropout (Srivastava et al. 2014): sets elements to zero at random, and scales the others so that
//! the expectation does not change.
//!
//! y = x keep / (1 - rate) with keep ~ Bernoulli(1 - rate), `x` and y `[B, ...]`. The mask depends
//! on the seed, `step.index`, the number of the image and the number of the layer. Differentiable
//! in `x`: the backward kernel draws the same mask again.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::dropout;
//!
//! let x = t.named("x", Shape::f32([64, 32, 28, 28]));
//! let y = dropout(t, x, 0.1, 0);
//! assert_eq!(t.shape(y), t.shape(x));
//! ```

use super::kernels::dropout::{Backward, BackwardScalar, Forward, ForwardScalar};
use crate::rng::philox;
use crate::tape::accuracy::DIVISION;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

#[derive(Clone, Copy, Debug)]
struct DropoutOp {
    rate: f32,
    layer: u32,
}

/// Sets each element of `x` `[B, ...]` to zero with probability `rate` in [0, 1). `layer` is the
/// number of the layer, below 2^24: layers with the same number drop the same elements.
#[track_caller]
pub fn dropout(t: &mut Tape, x: Tensor, rate: f32, layer: u32) -> Tensor {
    t.apply1(DropoutOp { rate, layer }, &[x])
}

/// Batch, elements per image, and blocks of four that cover an image.
fn sizes(shape: Shape) -> [u32; 3] {
    let image_size = shape.dims()[1..].iter().product::<u32>();
    [shape.dims()[0], image_size, image_size.div_ceil(4)]
}

impl Op for DropoutOp {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dtype == Dtype::F32 && !x.dims().is_empty() => {
                if !(0.0..1.0).contains(&self.rate) || self.layer >= 1 << 24 {
                    return Err(format!("the rate must be in [0, 1) and the layer below 2^24, not {self:?}"));
                }
                Ok(vec![x])
            }
            _ => Err("takes one f32 tensor [B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let x = x[0];
        let y = y[0];
        let DropoutOp { rate, layer } = *self;
        let [batch, image_size, blocks] = sizes(t.shape(x));
        let flops = t.shape(x).len() as u64;
        if image_size.is_multiple_of(4) {
            t.emit_flat(Forward { x, y, rate, layer, image_size, batch }, batch * blocks, flops);
        } else {
            let kernel = ForwardScalar { x_scalar: x, y_scalar: y, rate, layer, image_size, batch };
            t.emit_flat(kernel, batch * blocks, flops);
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let DropoutOp { rate, layer } = *self;
        let [batch, image_size, blocks] = sizes(t.shape(dy));
        let flops = t.shape(dy).len() as u64;
        t.grad(node.inputs[0], |t, dx, add| {
            if image_size.is_multiple_of(4) {
                t.emit_flat(Backward { dy, dx, rate, add, layer, image_size, batch }, batch * blocks, flops);
            } else {
                let kernel = BackwardScalar { dy_scalar: dy, dx_scalar: dx, rate, add, layer, image_size, batch };
                t.emit_flat(kernel, batch * blocks, flops);
            }
        });
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let each = sizes(x[0].shape)[1] as usize;
        let seed = [step.seed_low, step.seed_high];
        vec![Array::from_fn(x[0].shape, |i| {
            let (b, k) = ((i / each) as u32, i % each);
            let counter = [stream::DROPOUT | (self.layer << 8), step.index, step.first_image + b, k as u32 / 4];
            let u = f64::from(philox(counter, seed)[k % 4] >> 8) / 16_777_216.0;
            if u >= f64::from(self.rate) { x[0].data[i] / (1.0 - f64::from(self.rate)) } else { 0.0 }
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[0].len() as u64
    }
}

fn case(op: DropoutOp, shape: Shape) -> Case {
    Case { op: Rc::new(op), inputs: vec![(shape, Fill::Normal(1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = x keep / (1 - rate), keep ~ Bernoulli(1 - rate)",
    case: |draw: &mut Choices| {
        let (rate, layer) = (draw.one_of(&[0.1, 0.0, 0.5, 0.9]), draw.one_of(&[0, 1, 77, (1 << 24) - 1]));
        let batch = draw.range(1, 5);
        let channels = draw.range(1, 70);
        let width = draw.one_of(&[4, 1, 3, 8, 7]);
        case(DropoutOp { rate, layer }, Shape::f32([batch, channels, width]))
    },
    edge: Vec::new,
    bench: || {
        [[64, 32, 28, 28], [64, 64, 14, 14]].map(|x| case(DropoutOp { rate: 0.1, layer: 0 }, Shape::f32(x))).into()
    },
};
