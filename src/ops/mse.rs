//! Mean squared error of each image: the simple loss of diffusion models (Ho et al. 2020, eq. 14).
//!
//! `loss[b]` = mean over the elements of image b of (x - target)², with `x` and `target` `[B, ...]`
//! and the loss `[B]`. [`weighted_mse`] multiplies it by the weight of the image's timestep.
//! Differentiable in `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{mse, weighted_mse};
//!
//! let output = t.named("output", Shape::f32([64, 1, 28, 28]));
//! let noise = t.named("noise", Shape::f32([64, 1, 28, 28]));
//! let loss = mse(t, output, noise);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//!
//! let weights = t.named("weights", Shape::f32([1000]));
//! let timesteps = t.named("timesteps", Shape::u32([64]));
//! let loss = weighted_mse(t, output, noise, weights, timesteps);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//! ```

use super::kernels::mse::{Backward, BackwardPlain, Forward, ForwardPlain};
use crate::tape::accuracy::DIVISION;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// With weights and timesteps as third and fourth input, or without.
#[derive(Debug)]
struct Mse;

/// Mean over the elements of each image of (x - target)²: `x` and `target` `[B, ...]`, loss `[B]`.
#[track_caller]
pub fn mse(t: &mut Tape, x: Tensor, target: Tensor) -> Tensor {
    t.apply1(Mse, &[x, target])
}

/// [`mse()`] times the weight of the image's timestep: `weights` `[T]`, `timesteps` u32 `[B]`.
#[track_caller]
pub fn weighted_mse(t: &mut Tape, x: Tensor, target: Tensor, weights: Tensor, timesteps: Tensor) -> Tensor {
    t.apply1(Mse, &[x, target, weights, timesteps])
}

impl Op for Mse {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [x, target, ref weighted @ ..] = *inputs else { return Err("takes two tensors [B, ...]".into()) };
        if x != target || x.dims().is_empty() || x.dtype != Dtype::F32 {
            return Err("takes two f32 tensors of one shape [B, ...]".into());
        }
        let batch = x.dims()[0];
        match *weighted {
            [] => Ok(vec![Shape::f32([batch])]),
            [w, t] if w.dims().len() == 1 && w.dtype == Dtype::F32 && t == Shape::u32([batch]) => {
                Ok(vec![Shape::f32([batch])])
            }
            _ => Err("the weights are [T] and the timesteps u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, inputs: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let targets = inputs[1];
        let loss = y[0];
        let batch = t.shape(loss).len() as u32;
        let length = t.shape(x).len() as u32;
        let image_size = length / batch;
        let flops = 3 * u64::from(length);
        if let [_, _, w, timesteps] = *inputs {
            t.emit(Forward { x, targets, w, t: timesteps, loss, image_size, length }, batch, flops);
            t.moves(w, 4 * u64::from(batch));
        } else {
            t.emit(ForwardPlain { x, targets, loss, image_size, length }, batch, flops);
        }
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let (x, targets) = (node.inputs[0], node.inputs[1]);
        let length = t.shape(x).len() as u32;
        let image_size = length / t.shape(dy).len() as u32;
        let flops = 3 * u64::from(length);
        t.grad(x, |t, dx, add| {
            if let [_, _, w, timesteps] = node.inputs[..] {
                let kernel = Backward { x, targets, w, t: timesteps, dy, dx, add, image_size, length };
                t.emit_flat(kernel, length, flops);
                t.moves(w, 4 * u64::from(length / image_size));
            } else {
                t.emit_flat(BackwardPlain { x, targets, dy, dx, add, image_size, length }, length, flops);
            }
        });
    }

    fn constants(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let batch = x[0].shape.dims()[0];
        let each = x[0].data.len() / batch as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let square = |i: usize| (x[0].data[i] - x[1].data[i]).powi(2);
            let weight = if x.len() == 4 { x[2].data[x[3].data[b] as usize] } else { 1.0 };
            weight * (b * each..(b + 1) * each).map(square).sum::<f64>() / each as f64
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        3 * inputs[0].len() as u64
    }
}

fn case(image: Shape, timesteps: Option<u32>) -> Case {
    let mut inputs = vec![(image, Fill::Normal(1.0)); 2];
    if let Some(timesteps) = timesteps {
        inputs.push((Shape::f32([timesteps]), Fill::Uniform(0.5, 2.0)));
        inputs.push((Shape::u32([image.dims()[0]]), Fill::Below(timesteps)));
    }
    Case { op: Rc::new(Mse), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = w[t] mean((x - target)²)",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 19), draw.range(1, 9)]);
        let timesteps = draw.range(1, 30);
        case(shape, (!draw.flag()).then_some(timesteps))
    },
    edge: Vec::new,
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), Some(1000))],
};
