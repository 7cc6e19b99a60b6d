//! Kullback-Leibler divergence of diagonal normal distributions from N(0, 1), the regularizer of a
//! variational autoencoder (Kingma and Welling 2014, appendix B).
//!
//! `kl[b]` = sum over the elements of image b of (mean² + exp(v) - 1 - v) / 2, in nats. `mean` and
//! `log_variance` v are `[B, ...]`, kl is `[B]`: a sum over the image, not a mean. Differentiable
//! in both inputs.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::kl_normal;
//!
//! let latents = Shape::f32([64, 4, 7, 7]);
//! let [mean, log_variance] = ["mean", "log_variance"].map(|name| t.named(name, latents));
//! let kl = kl_normal(t, mean, log_variance);
//! assert_eq!(t.shape(kl), Shape::f32([64]));
//! ```

use super::kernels::kl_normal::{BackwardLogVariance, BackwardMean, Forward};
use crate::tape::accuracy::exp_minus;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct KlNormal;

/// Divergence `[B]` of normal distributions with `mean` and `log_variance` `[B, ...]` from N(0, 1).
#[track_caller]
pub fn kl_normal(t: &mut Tape, mean: Tensor, log_variance: Tensor) -> Tensor {
    t.apply1(KlNormal, &[mean, log_variance])
}

impl Op for KlNormal {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [mean, log_variance] if mean == log_variance && mean.dtype == Dtype::F32 => {
                Ok(vec![Shape::f32([mean.dims()[0]])])
            }
            _ => Err("takes means and log variances of one shape [B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (batch, length) = (t.shape(y[0]).len() as u32, t.shape(x[0]).len() as u32);
        let kernel = Forward { mean: x[0], log_variance: x[1], kl: y[0], image_size: length / batch, length };
        t.emit(kernel, batch, 16 * u64::from(length));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [mean, log_variance] = node.inputs[..] else { unreachable!("two inputs") };
        let (batch, length) = (t.shape(dy).len() as u32, t.shape(mean).len() as u32);
        let image_size = length / batch;
        t.grad(mean, |t, dx, add| {
            t.emit_flat(BackwardMean { mean, dy, dx, add, image_size, length }, length, u64::from(length));
        });
        t.grad(log_variance, |t, dx, add| {
            let kernel = BackwardLogVariance { log_variance, dy, dx, add, image_size, length };
            t.emit_flat(kernel, length, 16 * u64::from(length));
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let batch = x[0].shape.dims()[0];
        let each = x[0].data.len() / batch as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let term = |i: usize| 0.5 * (x[0].data[i].powi(2) + x[1].data[i].exp_m1() - x[1].data[i]);
            (b * each..(b + 1) * each).map(term).sum()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        exp_minus(x[1].max_abs())
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        16 * inputs[0].len() as u64
    }
}

fn case(shape: Shape, scale: f32) -> Case {
    Case { op: Rc::new(KlNormal), inputs: vec![(shape, Fill::Normal(scale)); 2] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "kl[b] = sum (mean² + exp(v) - 1 - v) / 2",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 5), draw.range(1, 19), draw.range(1, 9)]);
        case(shape, draw.one_of(&[1.0, 0.3]))
    },
    edge: || {
        let single = Shape::f32([16, 1, 1, 1]);
        let case = |log_variances, scale| {
            let inputs = vec![(single, Fill::Normal(scale)), (single, log_variances)];
            Case { op: Rc::new(KlNormal), inputs }
        };
        // Every image is a single latent. The ends of the power series of exp(L) - 1 - L, which is used where
        // |L| < 0.7, and log variances where the difference would cancel.
        vec![case(Fill::Uniform(0.6, 0.7), 1e-3), case(Fill::Uniform(-0.7, -0.6), 1e-3), case(Fill::Normal(1e-3), 1e-4)]
    },
    bench: || vec![case(Shape::f32([64, 4, 7, 7]), 1.0)],
};
