//! Label dropout for classifier-free guidance (Ho and Salimans 2022): replaces labels by the null
//! class at random, so that one network learns with and without labels.
//!
//! Input and output are u32 `[B]`. Which labels are replaced depends on the seed, `step.index` and
//! the number of the image. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{DropLabel, drop_label};
//!
//! let labels = t.named("labels", Shape::u32([64]));
//! let dropped = drop_label(t, labels, DropLabel { null_class: 10, rate: 0.1 });
//! assert_eq!(t.shape(dropped), Shape::u32([64]));
//! ```

use super::kernels::drop_label::Forward;
use crate::rng::philox;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Settings of label dropout.
#[derive(Debug)]
pub struct DropLabel {
    /// Number of the null class.
    pub null_class: u32,
    /// Probability that a label is replaced, in [0, 1].
    pub rate: f32,
}

/// Replaces some of the `labels` u32 `[B]` by the null class.
#[track_caller]
pub fn drop_label(t: &mut Tape, labels: Tensor, settings: DropLabel) -> Tensor {
    t.apply1(settings, &[labels])
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
        t.emit_flat(Forward { label: x[0], y: y[0], batch, none: self.null_class, rate: self.rate }, batch, 0);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let word = |b: usize| {
            philox([stream::LABEL, step.index, step.first_image + b as u32, 0], [step.seed_low, step.seed_high])[0]
        };
        let dropped = |b: usize| ((word(b) >> 8) as f32) / 16_777_216.0 < self.rate;
        vec![Array::from_fn(x[0].shape, |b| if dropped(b) { f64::from(self.null_class) } else { x[0].data[b] })]
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
    formula: "y = null class with probability p, else label",
    case: |draw: &mut Choices| {
        let op = DropLabel { null_class: 10, rate: draw.one_of(&[0.1, 0.0, 0.5, 1.0]) };
        Case { op: Rc::new(op), inputs: vec![(Shape::u32([draw.range(1, 200)]), Fill::Below(10))] }
    },
    edge: Vec::new,
    bench: || {
        vec![Case {
            op: Rc::new(DropLabel { null_class: 10, rate: 0.1 }),
            inputs: vec![(Shape::u32([64]), Fill::Below(10))],
        }]
    },
};
