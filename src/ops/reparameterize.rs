//! Sample of a normal distribution by the reparameterization trick (Kingma and Welling 2014,
//! section 2.4): the latent of a variational autoencoder.
//!
//! z = mean + exp(log_variance / 2) n with n ~ N(0, 1), all `[B, ...]`. The noise depends on the
//! seed, `step.index` and the numbers of the images. Differentiable in `mean` and `log_variance`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::reparameterize;
//!
//! let latents = Shape::f32([64, 4, 7, 7]);
//! let [mean, log_variance] = ["mean", "log_variance"].map(|name| t.named(name, latents));
//! let z = reparameterize(t, mean, log_variance);
//! assert_eq!(t.shape(z), t.shape(mean));
//! ```

use super::kernels::reparameterize::{BackwardLogVariance, BackwardMean, Forward};
use crate::tape::accuracy::{NORMAL, exp};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

#[derive(Debug)]
struct Reparameterize;

/// A sample with `mean` and `log_variance`, all of one shape `[B, ...]`.
#[track_caller]
pub fn reparameterize(t: &mut Tape, mean: Tensor, log_variance: Tensor) -> Tensor {
    t.apply1(Reparameterize, &[mean, log_variance])
}

impl Op for Reparameterize {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [mean, log_variance] if mean == log_variance && mean.dtype == Dtype::F32 => Ok(vec![mean]),
            _ => Err("takes means and log variances of one shape [B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (shape, batch, image_size) = sizes(t, y[0]);
        let kernel = Forward { mean: x[0], log_variance: x[1], z: y[0], image_size, batch };
        t.emit_flat(kernel, batch * image_size.div_ceil(4), 60 * shape.len() as u64);
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [mean, log_variance] = node.inputs[..] else { unreachable!("two inputs") };
        let (shape, batch, image_size) = sizes(t, dy);
        if !t.pass_gradient(mean, dy) {
            t.grad(mean, |t, dmean, add| {
                let kernel = BackwardMean { dy, dmean, add, image_size, batch };
                t.emit_flat(kernel, batch * image_size, shape.len() as u64);
            });
        }
        t.grad(log_variance, |t, dx, add| {
            let kernel = BackwardLogVariance { dy, log_variance, dx, add, image_size, batch };
            t.emit_flat(kernel, batch * image_size.div_ceil(4), 60 * shape.len() as u64);
        });
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let noise =
            super::randn::Randn { stream: stream::LATENT, shape: x[0].shape }.reference(&[], step).swap_remove(0);
        vec![Array::from_fn(x[0].shape, |i| x[0].data[i] + (x[1].data[i] / 2.0).exp() * noise.data[i])]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        4
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        exp(0.5 * x[1].max_abs()) + NORMAL
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        60 * inputs[0].len() as u64
    }
}

/// Shape, images, and elements per image.
fn sizes(t: &Tape, x: Tensor) -> (Shape, u32, u32) {
    let shape = t.shape(x);
    let batch = shape.dims()[0];
    (shape, batch, shape.len() as u32 / batch)
}

fn case(shape: Shape) -> Case {
    Case { op: Rc::new(Reparameterize), inputs: vec![(shape, Fill::Normal(1.0)); 2] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "z = mean + exp(log_variance / 2) n, n ~ N(0, 1)",
    case: |draw: &mut Choices| {
        case(Shape::f32([draw.range(1, 70), draw.range(1, 5), draw.range(1, 7), draw.range(1, 7)]))
    },
    edge: Vec::new,
    bench: || vec![case(Shape::f32([64, 4, 7, 7]))],
};
