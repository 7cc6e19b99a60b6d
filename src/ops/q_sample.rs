//! Weighted sum of images and noise by timestep: the forward process q(x_t | x_0) (Ho et al. 2020,
//! eq. 4), and the targets that mix both, such as the velocity.
//!
//! `y[b] = c[t_b, 0] a[b] + c[t_b, 1] eps[b]`, with `a`, `eps` and y `[B, ...]`, `coefficients` c
//! `[T, 2]` and `timesteps` t u32 `[B]`. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::q_sample;
//!
//! let [x0, eps] = ["x0", "eps"].map(|name| t.named(name, Shape::f32([64, 1, 28, 28])));
//! let coefficients = t.named("coefficients", Shape::f32([1000, 2]));
//! let timesteps = t.named("timesteps", Shape::u32([64]));
//! let x_t = q_sample(t, x0, eps, coefficients, timesteps);
//! assert_eq!(t.shape(x_t), t.shape(x0));
//! ```

use super::kernels::q_sample::Forward;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct QSample;

/// `a` and `eps` `[B, ...]`, weighted by rows `timesteps` u32 `[B]` of `coefficients` `[T, 2]`.
#[track_caller]
pub fn q_sample(t: &mut Tape, a: Tensor, eps: Tensor, coefficients: Tensor, timesteps: Tensor) -> Tensor {
    t.apply1(QSample, &[a, eps, coefficients, timesteps])
}

impl Op for QSample {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [a, e, c, t]
                if a == e && matches!(c.dims(), [_, 2]) && t == Shape::u32([a.dims()[0]]) && t.dtype == Dtype::U32 =>
            {
                Ok(vec![a])
            }
            _ => Err("takes two tensors [B, ...], weights [T, 2] and timesteps u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(y[0]);
        let length = shape.len() as u32;
        let image_size = length / shape.dims()[0];
        t.emit_flat(
            Forward { a: x[0], e: x[1], c: x[2], t: x[3], y: y[0], image_size, length },
            length,
            3 * u64::from(length),
        );
        t.moves(x[2], 8 * u64::from(length / image_size)); // a pair for each image
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let each = x[0].data.len() / x[3].data.len();
        vec![Array::from_fn(x[0].shape, |i| {
            let t = x[3].data[i / each] as usize;
            x[2].data[2 * t] * x[0].data[i] + x[2].data[2 * t + 1] * x[1].data[i]
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        2
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        3 * inputs[0].len() as u64
    }
}

fn case(image: Shape, timesteps: u32) -> Case {
    let weights = (Shape::f32([timesteps, 2]), Fill::Normal(1.0));
    let t = (Shape::u32([image.dims()[0]]), Fill::Below(timesteps));
    Case { op: Rc::new(QSample), inputs: vec![(image, Fill::Normal(1.0)), (image, Fill::Normal(1.0)), weights, t] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = c[t, 0] a + c[t, 1] e",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 9), draw.range(1, 9)]);
        case(shape, draw.range(1, 30))
    },
    edge: Vec::new,
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), 1000)],
};
