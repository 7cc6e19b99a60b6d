//! One term of the variational lower bound, from which a network learns the variance of the reverse
//! process (Nichol and Dhariwal 2021, section 3.1).
//!
//! `loss[b]` is the term of the image's timestep, as the mean over its elements, in bits: the
//! divergence of the posterior from the model (Ho et al. 2020, eq. 5), or for the first timestep
//! the negative log-likelihood of 8-bit pixels (eq. 13). Images, outputs and v are `[B, ...]`, the
//! loss is `[B]`. Row t of `table` `[T, 8]` is (k0, k1, c0, c1, log posterior variance, low, high,
//! first):
//!
//! ```text
//! predicted x0 = clip(k0 x_t + k1 mean_output, -1, 1)
//! mean = c0 x0 + c1 x_t, of the posterior and of the model
//! log variance of the model = low + (v + 1) / 2 (high - low)     (eq. 15)
//! first = 1 for t = 0, otherwise 0
//! ```
//!
//! Differentiable in v only: the mean counts as detached.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{VlbInputs, vlb};
//!
//! let names = ["mean", "v", "x0", "x_t"];
//! let images = Shape::f32([64, 1, 28, 28]);
//! let [mean_output, variance_output, x0, x_t] = names.map(|name| t.named(name, images));
//! let table = t.named("table", Shape::f32([1000, 8]));
//! let timesteps = t.named("timesteps", Shape::u32([64]));
//! let loss = vlb(t, VlbInputs { mean_output, variance_output, x0, x_t }, table, timesteps);
//! assert_eq!(t.shape(loss), Shape::f32([64]));
//! ```

pub(crate) use super::kernels::vlb::COEFFICIENTS;
use super::kernels::vlb::{Backward, Forward};
use crate::tape::accuracy::{DIVISION, LOG, exp, exp_minus};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::f64::consts::{LN_2, TAU};
use std::rc::Rc;

#[derive(Debug)]
struct Vlb;

/// The tensors of a term, all `[B, ...]`.
#[derive(Clone, Copy, Debug)]
pub struct VlbInputs {
    /// The part of the network's output that x0 follows from.
    pub mean_output: Tensor,
    /// The part v of the network's output for the variance.
    pub variance_output: Tensor,
    /// Clean images in [-1, 1].
    pub x0: Tensor,
    /// Noisy images.
    pub x_t: Tensor,
}

/// Term of timestep `timesteps[b]` (u32 `[B]`) for each image, `[B]`, in bits per dimension.
/// `table` is `[T, 8]`.
#[track_caller]
pub fn vlb(t: &mut Tape, inputs: VlbInputs, table: Tensor, timesteps: Tensor) -> Tensor {
    let VlbInputs { mean_output, variance_output, x0, x_t } = inputs;
    t.apply1(Vlb, &[mean_output, variance_output, x0, x_t, table, timesteps])
}

/// Bytes of one row of the table for each image.
fn rows_of(batch: u32) -> u64 {
    4 * u64::from(COEFFICIENTS * batch)
}

impl Op for Vlb {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [m, v, x0, xt, table, t]
                if [m, v, x0] == [xt; 3] && xt.dtype == Dtype::F32 && t == Shape::u32([xt.dims()[0]]) =>
            {
                let fits = matches!(table.dims(), [_, COEFFICIENTS]);
                if fits { Ok(vec![Shape::f32([xt.dims()[0]])]) } else { Err("the table is [T, 8]".into()) }
            }
            _ => Err("takes four tensors [B, ...], a table [T, 8] and timesteps u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (batch, length) = (t.shape(y[0]).len() as u32, t.shape(x[0]).len() as u32);
        let [mean_output, v, x0, xt, table, steps] = x[..] else { unreachable!("six inputs") };
        let kernel =
            Forward { mean_output, v, x0, xt, table, t: steps, loss: y[0], image_size: length / batch, length };
        t.emit(kernel, batch, 60 * u64::from(length));
        t.moves(table, rows_of(batch));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let [mean_output, v, x0, xt, table, steps] = node.inputs[..] else { unreachable!("six inputs") };
        let (batch, length) = (t.shape(dy).len() as u32, t.shape(v).len() as u32);
        let image_size = length / batch;
        t.grad(v, |t, dx, add| {
            let kernel = Backward { mean_output, v, x0, xt, table, t: steps, dy, dx, add, image_size, length };
            t.emit_flat(kernel, length, 60 * u64::from(length));
            t.moves(table, rows_of(batch));
        });
    }

    fn constants(&self) -> &'static [usize] {
        &[0, 2, 3, 4]
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let batch = x[0].shape.dims()[0];
        let each = x[0].data.len() / batch as usize;
        vec![Array::from_fn(Shape::f32([batch]), |b| {
            let row = &x[4].data[COEFFICIENTS as usize * x[5].data[b] as usize..][..COEFFICIENTS as usize];
            let term = |i: usize| term(row, [0, 1, 2, 3].map(|input: usize| x[input].data[i]));
            (b * each..(b + 1) * each).map(term).sum::<f64>() / (each as f64 * LN_2)
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        16 + inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, x: &[Array]) -> f64 {
        // The variance L, to which z and h are proportional in pairs; then either exp(r) - 1 - r
        // with r = the posterior's log variance - L, or a log of quotients.
        let rows = x[4].data.chunks(COEFFICIENTS as usize);
        let shares = 0.5 * (1.0 + x[1].max_abs());
        let largest = |of: [usize; 3]| {
            rows.clone().map(|row| of.map(|i| row[i].abs()).into_iter().fold(0.0, f64::max)).fold(0.0, f64::max)
        };
        let l = 2.0 * shares.max(1.0) * largest([5, 6, 6]);
        exp(l).max(2.0 * exp(0.5 * l)) + exp_minus(l + largest([4, 4, 4])) + LOG + 4.0 * DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        60 * inputs[0].len() as u64
    }
}

/// The term of one element, in nats.
fn term(row: &[f64], [m, v, x0, xt]: [f64; 4]) -> f64 {
    let guess = (row[0] * xt + row[1] * m).clamp(-1.0, 1.0);
    let mean = |x0: f64| row[2] * x0 + row[3] * xt;
    let fraction = (v + 1.0) / 2.0;
    let log_variance = fraction * row[6] + (1.0 - fraction) * row[5];
    if row[7].abs() > 0.5 {
        let deviation = (log_variance / 2.0).exp();
        let [low, high] = [-1.0, 1.0].map(|side| (x0 - mean(guess) + side / 255.0) / deviation);
        return minus_log_mass(
            if x0 < -0.999 { f64::NEG_INFINITY } else { low },
            if x0 > 0.999 { f64::INFINITY } else { high },
        );
    }
    let apart = mean(x0) - mean(guess);
    0.5 * (log_variance - row[4] - 1.0 + (row[4] - log_variance).exp() + apart * apart * (-log_variance).exp())
}

/// -log of the normal mass in [low, high], by the Gauss-Legendre rule with five nodes in each of 64
/// equal parts. The interval is shortened to the part that matters in f64, and the density is
/// relative to its largest value there, so that it does not underflow in a tail.
fn minus_log_mass(low: f64, high: f64) -> f64 {
    let (low, high) = if low + high < 0.0 { (-high, -low) } else { (low, high) };
    let peak = low.max(0.0);
    let (low, high) = (low.max(-9.0), high.min(peak + (40.0 / (1.0 + peak)).min(9.0)));
    let density = |x: f64| (0.5 * (peak - x) * (peak + x)).exp();
    let half = (high - low) / 128.0;
    let part = |center: f64| {
        let pair = |node: f64, weight: f64| weight * (density(center - half * node) + density(center + half * node));
        let middle = 128.0 / 225.0 * density(center);
        middle
            + pair(0.538_469_310_105_683_1, 0.478_628_670_499_366_5)
            + pair(0.906_179_845_938_664, 0.236_926_885_056_189_1)
    };
    let mass: f64 = (0..64).map(|k| half * part(low + half * f64::from(2 * k + 1))).sum();
    peak * peak / 2.0 + TAU.sqrt().ln() - mass.ln()
}

fn case(image: Shape, timesteps: u32, images: Fill, table: Fill) -> Case {
    let t = (Shape::u32([image.dims()[0]]), Fill::Below(timesteps));
    let inputs = vec![
        (image, images),
        (image, Fill::Normal(0.4)),
        (image, images),
        (image, images),
        (Shape::f32([timesteps, COEFFICIENTS]), table),
        t,
    ];
    Case { op: Rc::new(Vlb), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "loss[b] = mean KL(posterior || model) in bits, or -log2 of the bin's mass at t = 0",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 19), draw.range(1, 9)]);
        // One range for a whole table: ordinary variances, and variances as small as a bin, which
        // need images of that size.
        let (images, table) = draw.one_of(&[
            (Fill::Normal(0.5), Fill::Normal(0.5)),
            (Fill::Normal(0.5), Fill::Uniform(-5.0, 3.0)),
            (Fill::Normal(0.001), Fill::Uniform(-5.0, 3.0)),
            (Fill::Normal(1e-5), Fill::Uniform(-13.0, -11.0)),
        ]);
        case(shape, draw.range(1, 30), images, table)
    },
    edge: || {
        let one = |images, table| case(Shape::f32([16, 1, 1, 2]), 10, images, table);
        vec![
            // White and black pixels, whose bins have no end, about a standard deviation from the mean.
            one(Fill::Uniform(0.9995, 1.0), Fill::Uniform(0.4, 0.6)),
            one(Fill::Uniform(-1.0, -0.9995), Fill::Uniform(-0.6, -0.4)),
            one(Fill::Uniform(0.9995, 1.0), Fill::Uniform(0.5, 2.0)),
            // White pixels whose mean is four standard deviations above them, so that losses are almost 0.
            {
                let mut case = one(Fill::Uniform(-1.0, -0.9995), Fill::Uniform(-2.3, -2.2));
                case.inputs[0].1 = Fill::Uniform(0.99, 1.0);
                case.inputs[2].1 = Fill::Uniform(0.9995, 1.0);
                case
            },
            // Bins as wide as the standard deviation and a few of them away from the mean, on both sides.
            one(Fill::Normal(1e-4), Fill::Uniform(-13.0, -11.0)),
            // Bins of a third of the standard deviation.
            one(Fill::Normal(2e-4), Fill::Uniform(-9.0, -8.5)),
        ]
    },
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), 1000, Fill::Normal(0.5), Fill::Normal(0.5))],
};
