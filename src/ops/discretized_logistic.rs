//! Negative log-likelihood of 8-bit pixels under discretized logistic distributions (Salimans et
//! al. 2017, "PixelCNN++", section 2.1).
//!
//! `loss[b]` = sum over the elements of image b of -log(sigmoid(z + h) - sigmoid(z - h)), in nats,
//! where z = (x - mean) / s, h = (1 / 255) / s and s = exp(max(log_scale, -7)). That is the mass of
//! the bin x ± 1/255; the first and the last bin extend to infinity. `mean`, `log_scale` and `x`,
//! which has 256 levels in [-1, 1], are `[B, ...]` and the loss is `[B]`: a sum over the image, not
//! a mean. Differentiable in `mean` and `log_scale`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::discretized_logistic;
//!
//! let images = Shape::f32([64, 1, 28, 28]);
//! let [mean, log_scale, x] = ["mean", "log_scale", "x"].map(|name| t.named(name, images));
//! let loss = discretized_logistic(t, mean, log_scale, x);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//! ```

use super::kernels::discretized_logistic::{BackwardLogScale, BackwardMean, Forward, LOWEST};
use crate::tape::accuracy::{LOG, SIGMOID, exp, exp_minus};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct DiscretizedLogistic;

/// Negative log-likelihood `[B]` of `x` under `mean` and `log_scale`, all `[B, ...]`.
#[track_caller]
pub fn discretized_logistic(t: &mut Tape, mean: Tensor, log_scale: Tensor, x: Tensor) -> Tensor {
    t.apply1(DiscretizedLogistic, &[mean, log_scale, x])
}

impl Op for DiscretizedLogistic {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [mean, log_scale, x] if mean == x && log_scale == x && x.dtype == Dtype::F32 => {
                Ok(vec![Shape::f32([x.dims()[0]])])
            }
            _ => Err("takes means, log scales and pixels of one shape [B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (batch, length) = (t.shape(y[0]).len() as u32, t.shape(x[0]).len() as u32);
        let kernel = Forward { mean: x[0], log_scale: x[1], x: x[2], loss: y[0], image_size: length / batch, length };
        t.emit(kernel, batch, 70 * u64::from(length));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [mean, log_scale, x] = node.inputs[..] else { unreachable!("three inputs") };
        let (batch, length) = (t.shape(dy).len() as u32, t.shape(x).len() as u32);
        let (image_size, flops) = (length / batch, 70 * u64::from(length));
        t.grad(mean, |t, dx, add| {
            t.emit_flat(BackwardMean { mean, log_scale, x, dy, dx, add, image_size, length }, length, flops);
        });
        t.grad(log_scale, |t, dx, add| {
            t.emit_flat(BackwardLogScale { mean, log_scale, x, dy, dx, add, image_size, length }, length, flops);
        });
    }

    fn constants(&self) -> &'static [usize] {
        &[2]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let batch = x[0].shape.dims()[0];
        let each = x[0].data.len() / batch as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let term = |i: usize| minus_log_mass(x[0].data[i], x[1].data[i], x[2].data[i]);
            (b * each..(b + 1) * each).map(term).sum()
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // 1 / s, to which z and h are proportional; then softplus, log1mexp and sigmoids of them.
        let inverse = exp(x[1].data.iter().map(|v| v.max(f64::from(LOWEST)).abs()).fold(0.0, f64::max));
        2.0 * inverse + 2.0 * SIGMOID + LOG + exp_minus(1.0)
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        70 * inputs[0].len() as u64
    }
}

/// -log P of one pixel. Inside, P = sinh(h) / (cosh(h) + cosh(z)), computed relative to exp(|z|) so
/// that it is never zero.
fn minus_log_mass(mean: f64, log_scale: f64, x: f64) -> f64 {
    let inverse = (-log_scale.max(-7.0)).exp();
    let (z, h) = ((x - mean) * inverse, inverse / 255.0);
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    if x > 0.999 {
        return softplus(z - h);
    }
    if x < -0.999 {
        return softplus(-z - h);
    }
    let size = z.abs();
    size + (h.cosh() * (-size).exp() + 0.5 * (1.0 + (-2.0 * size).exp())).ln() - h.sinh().ln()
}

fn case(image: Shape, mean: Fill, log_scale: Fill, x: Fill) -> Case {
    Case { op: Rc::new(DiscretizedLogistic), inputs: vec![(image, mean), (image, log_scale), (image, x)] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = sum -log(sigmoid(z + h) - sigmoid(z - h)), z = (x - mean) / s, h = (1/255) / s",
    case: |draw: &mut Choices| {
        let image = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 19), draw.range(1, 9)]);
        if draw.flag() {
            // Scales smaller than a bin, some below the minimum, at which the gradient jumps.
            // Central differences then need means and pixels of that size.
            case(image, Fill::Normal(0.02), Fill::UniformKinked(LOWEST - 2.0, LOWEST + 2.0), Fill::Normal(0.02))
        } else {
            // Some pixels beyond one, to reach the first and the last bin.
            case(image, Fill::Normal(0.5), Fill::Uniform(-3.0, 1.0), Fill::Uniform(-1.5, 1.5))
        }
    },
    // Scales so much wider than a bin that log(1 - e^-x) needs its form for small x.
    edge: || {
        let image = Shape::f32([16, 1, 1, 1]);
        vec![case(image, Fill::Normal(0.5), Fill::Uniform(3.9, 4.0), Fill::Uniform(-0.9, 0.9))]
    },
    bench: || {
        let image = Shape::f32([64, 1, 28, 28]);
        vec![case(image, Fill::Normal(0.5), Fill::Uniform(-4.0, 0.0), Fill::Uniform(-1.0, 1.0))]
    },
};
