//! Time steps of a batch: random for training, from a list for sampling.

use super::faces::timesteps::{Random, Scheduled};
use crate::tape::philox::philox;
use crate::tape::{Array, Case, Draw, Dtype, Fill, Op, Operator, Shape, Step, Tape, Tensor, purpose};
use std::rc::Rc;

/// Time steps for `batch` images: entry `step.index` of the input list, or without an input uniform in 0..`timesteps`.
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

impl Op for Timesteps {
    fn name(&self) -> &'static str {
        "timesteps"
    }

    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match inputs {
            [] => Ok(vec![Shape::u32([self.batch])]),
            [list] if list.dtype == Dtype::U32 => Ok(vec![Shape::u32([self.batch])]),
            _ => Err("takes nothing, or a list of time steps".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (y, batch) = (y[0], self.batch);
        match *x {
            [list] => t.emit_flat(Scheduled { list, y, batch }, batch, 0),
            _ => t.emit_flat(Random { y, batch, timesteps: self.timesteps }, batch, 0),
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let word = |b: usize| philox([purpose::TIMESTEP, step.index, step.first_image + b as u32, 0], [step.seed_low, step.seed_high])[0];
        let random = |b: usize| (u64::from(word(b)) * u64::from(self.timesteps)) >> 32;
        let value = |b: usize| if x.is_empty() { random(b) as f64 } else { x[0].data[step.index as usize] };
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
pub const OPERATOR: Operator = Operator {
    name: "timesteps",
    formula: "t ~ U{0..T-1}, or t = list[step]",
    case: |draw: &mut Draw| {
        let inputs = if draw.flag() { vec![(Shape::u32([draw.range(4, 50)]), Fill::Below(1000))] } else { vec![] };
        Case { op: Rc::new(Timesteps { batch: draw.range(1, 150), timesteps: draw.range(1, 4000) }), inputs }
    },
    bench: || vec![Case { op: Rc::new(Timesteps { batch: 64, timesteps: 1000 }), inputs: vec![] }],
};
