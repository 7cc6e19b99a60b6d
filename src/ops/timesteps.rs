//! Timesteps of a batch: random for training, from a list for sampling.
//!
//! [`random_timesteps`] are uniform, [`weighted_timesteps`] follow the distribution of importance
//! sampling, and [`scheduled_timesteps`] repeat one entry of a list. The output is u32 `[B]`.
//! Random timesteps depend on the seed, `step.index` and the number of the batch's first image. One
//! random number a batch shifts equally spaced points, so that the timesteps of a batch cover all
//! levels of noise (Kingma et al. 2021, appendix I.1, "low-discrepancy sampler"). A device may have
//! a part of a batch, whose timesteps are those that the part has in the whole batch:
//! [`BatchPart`]. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{BatchPart, random_timesteps, scheduled_timesteps};
//!
//! let time = random_timesteps(t, BatchPart::all(64), 1000);
//! assert_eq!(t.shape(time), Shape::u32([64]));
//!
//! let list = t.named("list", Shape::u32([50]));
//! let time = scheduled_timesteps(t, list, 64);
//! assert_eq!(t.shape(time), Shape::u32([64]));
//! ```

use super::kernels::timesteps::{Random, Scheduled, Weighted};
use crate::rng::philox;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Consecutive images of a batch that is divided between devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPart {
    /// Images of the batch before this part. `step.first_image` is the number of the first image of
    /// the part.
    pub first: u32,
    /// Images of this part.
    pub count: u32,
    /// Images of the whole batch.
    pub whole: u32,
}

impl BatchPart {
    /// A whole batch.
    pub const fn all(batch: u32) -> BatchPart {
        BatchPart { first: 0, count: batch, whole: batch }
    }
}

#[derive(Debug)]
struct Timesteps {
    part: BatchPart,
    timesteps: u32,
}

/// Each uniform in `0..timesteps`, and equally spaced in a batch: u32 `[part.count]`.
#[track_caller]
pub fn random_timesteps(t: &mut Tape, part: BatchPart, timesteps: u32) -> Tensor {
    t.apply1(Timesteps { part, timesteps }, &[])
}

/// All equal to entry `step.index` of `list` u32 `[S]`: u32 `[batch]`.
#[track_caller]
pub fn scheduled_timesteps(t: &mut Tape, list: Tensor, batch: u32) -> Tensor {
    t.apply1(Timesteps { part: BatchPart::all(batch), timesteps: 0 }, &[list])
}

/// From the cumulative probabilities `cdf` `[timesteps]` of
/// [`importance_sampling`](super::importance_sampling()): u32 `[part.count]`. Uniform if the last
/// entry of `cdf` is zero.
#[track_caller]
pub fn weighted_timesteps(t: &mut Tape, cdf: Tensor, part: BatchPart, timesteps: u32) -> Tensor {
    t.apply1(Timesteps { part, timesteps }, &[cdf])
}

impl Op for Timesteps {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let BatchPart { first, count, whole } = self.part;
        if u64::from(first) + u64::from(count) > u64::from(whole) {
            return Err(format!("has images {first} to {} of a batch of {whole}", first + count));
        }
        match inputs {
            [] => Ok(vec![Shape::u32([self.part.count])]),
            [list] if list.dtype == Dtype::U32 => Ok(vec![Shape::u32([self.part.count])]),
            [cdf] if *cdf == Shape::f32([self.timesteps]) => Ok(vec![Shape::u32([self.part.count])]),
            _ => Err("takes nothing, a list of timesteps, or a distribution [T]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let y = y[0];
        let BatchPart { first, count: batch, whole } = self.part;
        let timesteps = self.timesteps;
        match *x {
            [list] if t.shape(list).dtype == Dtype::U32 => {
                t.emit_flat(Scheduled { list, y, batch }, batch, 0);
                t.moves(list, 4); // one number
            }
            [cdf] => {
                t.emit_flat(Weighted { cdf, y, batch, first, whole, timesteps }, batch, 0);
                t.moves(cdf, 4 * u64::from(batch * (2 + timesteps.ilog2())));
            }
            _ => t.emit_flat(Random { y, batch, first, whole, timesteps }, batch, 0),
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let BatchPart { first, count, whole } = self.part;
        let counter = [stream::TIMESTEP, step.index, step.first_image.wrapping_sub(first), 0];
        let start = philox(counter, [step.seed_low, step.seed_high])[0];
        let word = |b: usize| start.wrapping_add((first + b as u32) * (u32::MAX / whole));
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
        vec![Array::from_fn(Shape::u32([count]), value)]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "t ~ U{0..T-1}, t ~ p given cumulatively, or t = list[step]",
    case: |draw: &mut Choices| {
        // With multiples of four, tensor and storage end together.
        let batch = if draw.flag() { 4 * draw.range(1, 40) } else { draw.range(1, 150) };
        let most = draw.one_of(&[4000, 9, 9]);
        let (before, after) = draw.one_of(&[(0, 0), (0, 0), (5, 0), (5, 9)]);
        let part = BatchPart { first: before, count: batch, whole: before + batch + after };
        let op = Timesteps { part, timesteps: draw.range(1, most) };
        let cdf = Shape::f32([op.timesteps]);
        let inputs = match draw.range(0, 4) {
            0 => vec![],
            1 => vec![(Shape::u32([draw.range(4, 50)]), Fill::Below(1000))],
            2 => vec![(cdf, Fill::Uniform(0.0, 0.0))],
            _ => vec![(cdf, Fill::Rising)],
        };
        Case { op: Rc::new(op), inputs }
    },
    edge: || {
        // The middle of a batch. Tensor and storage end together.
        let part = BatchPart { first: 5, count: 8, whole: 20 };
        let case = |inputs| Case { op: Rc::new(Timesteps { part, timesteps: 9 }), inputs };
        let list = (Shape::u32([50]), Fill::Below(1000));
        vec![case(vec![]), case(vec![list]), case(vec![(Shape::f32([9]), Fill::Rising)])]
    },
    bench: || vec![Case { op: Rc::new(Timesteps { part: BatchPart::all(64), timesteps: 1000 }), inputs: vec![] }],
};

#[cfg(test)]
mod tests {
    use super::{BatchPart, Timesteps};
    use crate::tape::{Op, Step};

    #[test]
    fn timesteps_of_a_batch_are_spread_and_each_is_uniform() {
        let op = Timesteps { part: BatchPart::all(32), timesteps: 1000 };
        let mut first = [0; 10];
        for index in 0..1000 {
            let batch = &op.reference(&[], &Step { index, ..Step::seeded(3) })[0].data;
            first[batch[0] as usize / 100] += 1;
            let mut sorted = batch.clone();
            sorted.sort_by(f64::total_cmp);
            // 1000 / 32 = 31.25 apart, also around the end.
            let gaps = sorted.iter().zip(sorted.iter().cycle().skip(1)).map(|(a, b)| (b - a).rem_euclid(1000.0));
            assert!(gaps.clone().all(|gap| gap == 31.0 || gap == 32.0), "{:?}", gaps.collect::<Vec<_>>());
        }
        // 100 expected, with a standard deviation of 9.5.
        assert!(first.iter().all(|&count| (60..140).contains(&count)), "{first:?}");
    }

    #[test]
    fn parts_of_a_batch_have_the_timesteps_of_the_whole() {
        let times = |part: BatchPart| {
            let step = Step { index: 5, first_image: 40 + part.first, ..Step::seeded(3) };
            Timesteps { part, timesteps: 1000 }.reference(&[], &step)[0].data.clone()
        };
        let part = |first, count| times(BatchPart { first, count, whole: 12 });
        assert_eq!([part(0, 4), part(4, 4), part(8, 4)].concat(), times(BatchPart::all(12)));
    }
}
