//! Which images of the data set make up a batch.

use super::faces::choose::{Consecutive, Forward};
use crate::tape::philox::philox;
use crate::tape::{Array, Case, Draw, Op, Operator, Shape, Step, Tape, Tensor, purpose};
use std::rc::Rc;

/// Image numbers of a batch: from a random permutation of the first `count` images, or `count` consecutive ones from `first` on.
#[derive(Debug)]
pub struct Choose {
    /// Images in the batch.
    pub batch: u32,
    /// Images to choose from; at most 2^30.
    pub count: u32,
    /// `None`: permuted anew each epoch. `Some(first)`: in order, from this one on.
    pub consecutive_from: Option<u32>,
}

/// u32 `[batch]`: image numbers by `step.epoch` and `step.position` (permuted), or by `step.first_image` (consecutive).
#[track_caller]
pub fn choose(t: &mut Tape, choose: Choose) -> Tensor {
    t.apply1(choose, &[])
}

fn permuted(start: u32, count: u32, epoch: u32, seed: [u32; 2]) -> u32 {
    let half = ((33 - (count - 1).leading_zeros()) / 2).max(1);
    let mask = (1 << half) - 1;
    let mut value = start;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..6 {
            (left, right) = (right, left ^ (philox([purpose::PERMUTATION, epoch, round, right], seed)[0] & mask));
        }
        value = (left << half) | right;
        if value < count {
            return value;
        }
    }
}

impl Op for Choose {
    fn name(&self) -> &'static str {
        "choose"
    }

    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [] if self.count > 0 && self.count <= 1 << 30 => Ok(vec![Shape::u32([self.batch])]),
            _ => Err("takes no tensor, and chooses among 1 to 2^30 images".into()),
        }
    }

    fn forward(&self, t: &mut Tape, _: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (y, batch, count) = (y[0], self.batch, self.count);
        match self.consecutive_from {
            None => t.emit_flat(Forward { y, batch, count }, batch, 0),
            Some(first) => t.emit_flat(Consecutive { y, batch, count, first }, batch, 0),
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, _: &[Array], step: &Step) -> Vec<Array> {
        let seed = [step.seed_low, step.seed_high];
        let number = |b: usize| match self.consecutive_from {
            Some(first) => first + (step.first_image + b as u32) % self.count,
            None => {
                let at = step.position + b as u32;
                permuted(at % self.count, self.count, step.epoch + at / self.count, seed)
            }
        };
        vec![Array::from_fn(Shape::u32([self.batch]), |b| f64::from(number(b)))]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        1
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        0
    }
}

/// What tests and benches try.
pub const OPERATOR: Operator = Operator {
    name: "choose",
    formula: "image numbers: a Feistel permutation of the data set, or consecutive",
    case: |draw: &mut Draw| {
        let consecutive_from = if draw.flag() { Some(draw.range(0, 9)) } else { None };
        let op = Choose { batch: draw.range(1, 150), count: draw.range(1, 1000), consecutive_from };
        Case { op: Rc::new(op), inputs: vec![] }
    },
    bench: || vec![Case { op: Rc::new(Choose { batch: 64, count: 59_000, consecutive_from: None }), inputs: vec![] }],
};

#[cfg(test)]
mod tests {
    use super::permuted;

    #[test]
    fn every_image_once() {
        for count in [1, 2, 3, 64, 65, 1000] {
            let mut seen: Vec<u32> = (0..count).map(|i| permuted(i, count, 3, [1, 2])).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count));
        }
    }
}
