//! Time steps of a batch: random for training, uniformly or by importance; from a list for sampling.

use super::kernels::timesteps::{Random, Scheduled, Weighted};
use crate::rng::philox;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Time steps for `batch` images: entry `step.index` of the input list, by the input distribution, or without an input uniform in 0..`timesteps`.
#[derive(Debug)]
pub struct Timesteps {
    /// Images in the batch.
    pub batch: u32,
    /// Number of time steps T.
    pub timesteps: u32,
}

/// u32 `[batch]`, uniform in 0..timesteps, by the step and the image's number.
#[track_caller]
pub fn random_timesteps(t: &mut Tape, batch: u32, timesteps: u32) -> Tensor {
    t.apply1(Timesteps { batch, timesteps }, &[])
}

/// u32 `[batch]`, all equal to entry `step.index` of `list` u32 `[S]`.
#[track_caller]
pub fn scheduled_timesteps(t: &mut Tape, list: Tensor, batch: u32) -> Tensor {
    t.apply1(Timesteps { batch, timesteps: 0 }, &[list])
}

/// u32 `[batch]`, by the cumulative distribution `cdf` `[timesteps]` ([`importance`](super::importance::importance)), the step and the image's
/// number; uniform if the last entry of `cdf` is zero.
#[track_caller]
pub fn weighted_timesteps(t: &mut Tape, cdf: Tensor, batch: u32, timesteps: u32) -> Tensor {
    t.apply1(Timesteps { batch, timesteps }, &[cdf])
}

impl Op for Timesteps {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [] => Ok(vec![Shape::u32([self.batch])]),
            [list] if list.dtype == Dtype::U32 => Ok(vec![Shape::u32([self.batch])]),
            [cdf] if *cdf == Shape::f32([self.timesteps]) => Ok(vec![Shape::u32([self.batch])]),
            _ => Err("takes nothing, a list of time steps, or a distribution [T]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (y, batch, timesteps) = (y[0], self.batch, self.timesteps);
        match *x {
            [list] if t.shape(list).dtype == Dtype::U32 => t.emit_flat(Scheduled { list, y, batch }, batch, 0),
            [cdf] => t.emit_flat(Weighted { cdf, y, batch, timesteps }, batch, 0),
            _ => t.emit_flat(Random { y, batch, timesteps }, batch, 0),
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let word = |b: usize| philox([stream::TIMESTEP, step.index, step.first_image + b as u32, 0], [step.seed_low, step.seed_high])[0];
        let random = |b: usize| (u64::from(word(b)) * u64::from(self.timesteps)) >> 32;
        let weighted = |b: usize, cdf: &[f64]| {
            let u = f64::from(word(b) >> 8) / 16_777_216.0;
            cdf[..cdf.len() - 1].iter().filter(|&&reached| reached <= u).count() as f64
        };
        let value = |b: usize| match x {
            [list] if list.shape.dtype == Dtype::U32 => list.data[step.index as usize],
            [cdf] if cdf.data.last() != Some(&0.0) => weighted(b, &cdf.data),
            _ => random(b) as f64,
        };
        vec![Array::from_fn(Shape::u32([self.batch]), value)]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// What tests and benches try.
pub(super) const OPERATOR: Operator = Operator {
    formula: "t ~ U{0..T-1}, t ~ p given cumulatively, or t = list[step]",
    case: |draw: &mut Choices| {
        // Multiples of four end where their storage does.
        let batch = if draw.flag() { 4 * draw.range(1, 40) } else { draw.range(1, 150) };
        let most = draw.one_of(&[4000, 9, 9]);
        let op = Timesteps { batch, timesteps: draw.range(1, most) };
        let cdf = Shape::f32([op.timesteps]);
        let inputs = match draw.range(0, 4) {
            0 => vec![],
            1 => vec![(Shape::u32([draw.range(4, 50)]), Fill::Below(1000))],
            2 => vec![(cdf, Fill::Uniform(0.0, 0.0))],
            _ => vec![(cdf, Fill::Rising)],
        };
        Case { op: Rc::new(op), inputs }
    },
    bench: || vec![Case { op: Rc::new(Timesteps { batch: 64, timesteps: 1000 }), inputs: vec![] }],
};
