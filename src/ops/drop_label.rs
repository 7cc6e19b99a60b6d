//! Label dropout: replaces labels by the null class at random.

use super::kernels::drop_label::Forward;
use crate::rng::philox;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Replaces a label by class `none` with probability `rate`.
#[derive(Debug)]
pub struct DropLabel {
    /// Number of the null class.
    pub none: u32,
    /// Probability in [0, 1].
    pub rate: f32,
}

/// u32 `[B]`: `label` u32 `[B]` with some replaced.
#[track_caller]
pub fn drop_label(t: &mut Tape, label: Tensor, drop: DropLabel) -> Tensor {
    t.apply1(drop, &[label])
}

impl Op for DropLabel {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [label] if label.dtype == Dtype::U32 && label.dims().len() == 1 => Ok(vec![label]),
            _ => Err("takes labels u32 [B]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let batch = t.shape(y[0]).len() as u32;
        t.emit_flat(Forward { label: x[0], y: y[0], batch, none: self.none, rate: self.rate }, batch, 0);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let word = |b: usize| philox([stream::LABEL, step.index, step.first_image + b as u32, 0], [step.seed_low, step.seed_high])[0];
        let dropped = |b: usize| ((word(b) >> 8) as f32) / 16_777_216.0 < self.rate;
        vec![Array::from_fn(x[0].shape, |b| if dropped(b) { f64::from(self.none) } else { x[0].data[b] })]
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
    formula: "y = null class with probability p, else label",
    case: |draw: &mut Choices| {
        let op = DropLabel { none: 10, rate: draw.one_of(&[0.1, 0.0, 0.5, 1.0]) };
        Case { op: Rc::new(op), inputs: vec![(Shape::u32([draw.range(1, 200)]), Fill::Below(10))] }
    },
    bench: || vec![Case { op: Rc::new(DropLabel { none: 10, rate: 0.1 }), inputs: vec![(Shape::u32([64]), Fill::Below(10))] }],
};
