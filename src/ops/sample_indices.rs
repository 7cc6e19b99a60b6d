//! Chooses the images of a batch, by their numbers in the data set.
//!
//! The order is a permutation by a Feistel network whose round function is Philox. If a data set
//! does not fit on the device, the device holds a ring of batches, which the host fills in the same
//! order, by [`permuted_images`]. The output is u32 `[batch]`. There is no input and no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{IndexOrder, SampleIndices, sample_indices};
//!
//! let order = IndexOrder::Permuted;
//! let image = sample_indices(t, SampleIndices { batch: 64, count: 60_000, order });
//! assert_eq!(t.shape(image), Shape::u32([64]));
//! ```

use super::kernels::sample_indices::{Consecutive, Forward, ROUNDS, Ring};
use crate::rng::{key, philox};
use crate::tape::testing::{Case, Choices, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Largest number of images: with one more bit, sums of their numbers would not fit into 32 bits.
const MOST: u32 = 1 << 30;

/// A batch of images.
#[derive(Debug)]
pub struct SampleIndices {
    /// Images in the batch.
    pub batch: u32,
    /// Images to choose from, at most 2^30. Not used by a ring.
    pub count: u32,
    /// Their order.
    pub order: IndexOrder,
}

/// The order of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOrder {
    /// A random permutation of the first `count` images, different in each epoch, by `step.epoch`
    /// and `step.position`.
    Permuted,
    /// `count` images from `first` on, cyclically, by `step.first_image`.
    Consecutive {
        /// Number of the first image.
        first: u32,
    },
    /// Consecutive batches of a ring, one per step, by `step.index`.
    Ring {
        /// Batches in the ring; `slots` times `batch` is at most 2^30.
        slots: u32,
    },
}

/// Numbers of a batch's images, u32 `[batch]`.
#[track_caller]
pub fn sample_indices(t: &mut Tape, settings: SampleIndices) -> Tensor {
    t.apply1(settings, &[])
}

/// Computes a batch of [`IndexOrder::Permuted`] on the host, for a `Step` with this seed, `epoch`
/// and `position`.
///
/// # Panics
/// If `count` is not in 1 to 2^30.
#[track_caller]
pub fn permuted_images(seed: u64, count: u32, epoch: u32, position: u32, batch: u32) -> Vec<u32> {
    assert!((1..=MOST).contains(&count), "permuted_images: chooses among 1 to 2^30 images, not {count}");
    let number = |b| {
        let at = position + b;
        permuted(at % count, count, epoch + at / count, key(seed))
    };
    (0..batch).map(number).collect()
}

fn permuted(start: u32, count: u32, epoch: u32, seed: [u32; 2]) -> u32 {
    let half = ((33 - (count - 1).leading_zeros()) / 2).max(1);
    let mask = (1 << half) - 1;
    let mut value = start;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (philox([stream::PERMUTATION, epoch, round, right], seed)[0] & mask));
        }
        value = (left << half) | right;
        if value < count {
            return value;
        }
    }
}

impl Op for SampleIndices {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let images = match self.order {
            IndexOrder::Permuted | IndexOrder::Consecutive { .. } => u64::from(self.count),
            IndexOrder::Ring { slots } => u64::from(slots) * u64::from(self.batch),
        };
        match inputs {
            [] if (1..=u64::from(MOST)).contains(&images) => Ok(vec![Shape::u32([self.batch])]),
            _ => Err("takes no tensor, and chooses among 1 to 2^30 images".into()),
        }
    }

    fn forward(&self, t: &mut Tape, _: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let y = y[0];
        let batch = self.batch;
        let count = self.count;
        match self.order {
            IndexOrder::Permuted => t.emit_flat(Forward { y, batch, count }, batch, 0),
            IndexOrder::Consecutive { first } => t.emit_flat(Consecutive { y, batch, count, first }, batch, 0),
            IndexOrder::Ring { slots } => t.emit_flat(Ring { y, batch, slots }, batch, 0),
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, _: &[Array], step: &Step) -> Vec<Array> {
        let (batch, count) = (self.batch, self.count);
        let numbers: Vec<u32> = match self.order {
            IndexOrder::Permuted => {
                let seed = u64::from(step.seed_high) << 32 | u64::from(step.seed_low);
                permuted_images(seed, count, step.epoch, step.position, batch)
            }
            IndexOrder::Consecutive { first } => (0..batch).map(|b| first + (step.first_image + b) % count).collect(),
            IndexOrder::Ring { slots } => (0..batch).map(|b| step.index % slots * batch + b).collect(),
        };
        vec![Array::from_fn(Shape::u32([batch]), |b| f64::from(numbers[b]))]
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
    formula: "image numbers: a Feistel permutation of the data set, consecutive, or the next batch of a ring",
    case: |draw: &mut Choices| {
        let (first, slots) = (draw.range(0, 9), draw.range(1, 5));
        let order = draw.one_of(&[IndexOrder::Permuted, IndexOrder::Consecutive { first }, IndexOrder::Ring { slots }]);
        let op = SampleIndices { batch: draw.range(1, 150), count: draw.range(1, 1000), order };
        Case { op: Rc::new(op), inputs: vec![] }
    },
    // As many images as a power of two, and one more or less: the permutation's number of bits changes.
    edge: || {
        let case = |count| {
            let op = SampleIndices { batch: 150, count, order: IndexOrder::Permuted };
            Case { op: Rc::new(op), inputs: vec![] }
        };
        [1, 63, 64, 65, 255, 256].map(case).into()
    },
    bench: || {
        let op = SampleIndices { batch: 64, count: 59_000, order: IndexOrder::Permuted };
        vec![Case { op: Rc::new(op), inputs: vec![] }]
    },
};

#[cfg(test)]
mod tests {
    use super::{permuted, permuted_images};

    #[test]
    fn sample_indices_takes_every_image_once_per_epoch() {
        for count in [1, 2, 3, 64, 65, 1000] {
            let mut seen: Vec<u32> = (0..count).map(|i| permuted(i, count, 3, [1, 2])).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count));
        }
    }

    #[test]
    fn sample_indices_gives_batches_across_epochs() {
        // Five batches of 4 from 10 images: each image twice, in two different orders.
        let batch = |n: u32| permuted_images(7, 10, n * 4 / 10, n * 4 % 10, 4);
        let seen: Vec<u32> = (0..5).flat_map(batch).collect();
        let (mut first, mut second) = (seen[..10].to_vec(), seen[10..].to_vec());
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert!(first == second && first.into_iter().eq(0..10));
        assert_ne!(permuted_images(7, 1000, 0, 0, 8), permuted_images(7 | 1 << 40, 1000, 0, 0, 8));
    }
}
