//! Importance sampling of timesteps by their losses (Nichol and Dhariwal 2021, section 3.3,
//! "loss-second-moment resampler").
//!
//! The probability p of a timestep is proportional to the root mean square of its last
//! [`HISTORY_LENGTH`] losses, mixed with 0.001 of the uniform distribution. It is uniform until
//! every timestep has that many losses. Losses that are not finite or larger than 1e18 are left
//! out. `losses` are `[B]` and `timesteps` u32 `[B]`; the outputs are the updated tensors of
//! [`ImportanceState`]. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{HISTORY_LENGTH, ImportanceState, importance_sampling};
//!
//! let losses = t.named("losses", Shape::f32([64]));
//! let timesteps = t.named("timesteps", Shape::u32([64]));
//! let history = t.named("history", Shape::f32([1000, HISTORY_LENGTH]));
//! let names = ["count", "weights", "cdf"];
//! let [count, weights, cdf] = names.map(|name| t.named(name, Shape::f32([1000])));
//! importance_sampling(t, losses, timesteps, ImportanceState { history, count, weights, cdf });
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "importance_sampling.forward");
//! ```

pub use super::kernels::importance_sampling::HISTORY_LENGTH;
use super::kernels::importance_sampling::{Append, Forward};
use crate::tape::accuracy::{DIVISION, SQRT};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct ImportanceSampling;

/// State of the training, in named buffers.
///
/// The host writes the initial values: zeros for `history`, `count` and `cdf`, ones for `weights`.
#[derive(Clone, Copy, Debug)]
pub struct ImportanceState {
    /// The last [`HISTORY_LENGTH`] losses of each timestep, `[T, HISTORY_LENGTH]`.
    pub history: Tensor,
    /// Number of losses of each timestep, `[T]`. At twice the history length it wraps back to the
    /// history length.
    pub count: Tensor,
    /// Weights of the losses 1 / (T p), `[T]`.
    pub weights: Tensor,
    /// Cumulative probabilities, `[T]`. [`weighted_timesteps`](super::weighted_timesteps) draws
    /// from them, and uniformly if the last one is zero.
    pub cdf: Tensor,
}

/// Appends the unweighted `losses` `[B]` of `timesteps` u32 `[B]` to the history, and updates
/// weights and probabilities.
///
/// Record it after everything that reads `weights`: they belong to the `cdf` from which this step's
/// timesteps were drawn.
#[track_caller]
pub fn importance_sampling(t: &mut Tape, losses: Tensor, timesteps: Tensor, state: ImportanceState) {
    let ImportanceState { history, count, weights, cdf } = state;
    t.apply(ImportanceSampling, &[losses, timesteps, history, count, weights, cdf]);
}

impl Op for ImportanceSampling {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [losses, t, history, count, weights, cdf]
                if losses.dtype == Dtype::F32 && t == Shape::u32([losses.len() as u32]) =>
            {
                let length = cdf.len() as u32;
                let row = Shape::f32([length]);
                let fits = [count, weights, cdf] == [row; 3] && history == Shape::f32([length, HISTORY_LENGTH]);
                if fits {
                    Ok(vec![])
                } else {
                    Err("the state is history [T, 10] and count, weights and cdf [T]".into())
                }
            }
            _ => Err("takes losses [B], timesteps u32 [B] and four tensors of state".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[2, 3, 4, 5]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let (batch, row) = (t.shape(x[0]).len() as u32, t.shape(x[5]));
        let timesteps = row.len() as u32;
        let roots = t.transient(row);
        let append = Append { losses: x[0], t: x[1], history: x[2], count: x[3], roots, batch, timesteps };
        t.emit_flat(append, timesteps, u64::from(timesteps) * (u64::from(batch) + 22));
        t.emit(Forward { r: roots, weights: x[4], cdf: x[5], timesteps }, 1, 8 * u64::from(timesteps));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let (mut history, mut count) = (x[2].clone(), x[3].clone());
        let (length, kept) = (count.data.len(), HISTORY_LENGTH as usize);
        for (&loss, &t) in x[0].data.iter().zip(&x[1].data) {
            if loss.abs() <= f64::from(1e18f32) {
                let n = &mut count.data[t as usize];
                history.data[t as usize * kept + *n as usize % kept] = loss;
                *n += if *n + 1.0 >= 2.0 * kept as f64 { 1.0 - kept as f64 } else { 1.0 };
            }
        }
        let mean_square = |losses: &[f64]| losses.iter().map(|loss| loss * loss).sum::<f64>() / kept as f64;
        let roots: Vec<f64> = history.data.chunks(kept).map(|losses| mean_square(losses).sqrt()).collect();
        let total: f64 = roots.iter().sum();
        let measured = count.data.iter().all(|&n| n >= kept as f64) && total > 0.0;
        let even = 1.0 / length as f64;
        let p = |t: usize| if measured { 0.999 * roots[t] / total + 0.001 * even } else { even };
        let mut sum = 0.0;
        let cdf = Array::from_fn(x[5].shape, |t| {
            sum += p(t);
            sum
        });
        vec![history, count, Array::from_fn(x[4].shape, |t| even / p(t)), cdf]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[5].len() + HISTORY_LENGTH as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // A root, its share of the sum, and the reciprocal of that.
        2.0 * SQRT + 3.0 * DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        inputs[5].len() as u64 * (inputs[0].len() as u64 + 30)
    }
}

fn case(batch: u32, timesteps: u32, count: Fill, losses: Fill) -> Case {
    let row = Shape::f32([timesteps]);
    let inputs = vec![
        (Shape::f32([batch]), losses),
        (Shape::u32([batch]), Fill::Below(timesteps)),
        (Shape::f32([timesteps, HISTORY_LENGTH]), losses),
        (row, count),
        (row, Fill::Uniform(0.5, 2.0)),
        (row, Fill::Rising),
    ];
    Case { op: Rc::new(ImportanceSampling), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "p ∝ root mean square of the last ten losses of t; weights = 1 / (T p), cdf = cumulative p",
    case: |draw: &mut Choices| {
        let most = draw.one_of(&[40, 4096]);
        // The histories are all full, all about to wrap, all about to be full at the timesteps of
        // the batch, or mixed.
        let [full, soon, again] = [10.0, 9.0, 19.0].map(|n| Fill::Uniform(n, n));
        let count = draw.one_of(&[full, again, soon, Fill::Uniform(0.0, 19.9), Fill::Uniform(9.5, 19.9)]);
        let losses = draw.one_of(&[
            Fill::Uniform(0.1, 3.0),
            Fill::Normal(1.0),
            Fill::Uniform(1.0, 30.0),
            Fill::Uniform(0.0, 0.0),
        ]);
        case(draw.range(1, 150), draw.range(1, most), count, losses)
    },
    // Losses that are left out: NaN, and losses whose squares overflow. The largest loss that is not left
    // out, and losses whose root is below one.
    edge: || {
        let case = |losses| {
            let mut case = case(40, 7, Fill::Uniform(8.0, 10.0), Fill::Uniform(0.1, 3.0));
            case.inputs[0].1 = losses;
            case
        };
        let small = self::case(40, 7, Fill::Uniform(10.0, 10.0), Fill::Uniform(0.01, 0.05));
        vec![
            case(Fill::Uniform(f32::NAN, f32::NAN)),
            case(Fill::Uniform(2e18, 3e18)),
            case(Fill::Uniform(1e18, 1e18)),
            small,
        ]
    },
    bench: || vec![case(64, 1000, Fill::Uniform(10.0, 19.9), Fill::Uniform(0.1, 3.0))],
};
