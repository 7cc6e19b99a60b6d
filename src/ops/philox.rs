//! Words of the random generator Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
//! easy as 1, 2, 3"), for given counters. The key is the seed of the step.
//!
//! The output u32 `[N, 4]` has four random words for each counter u32 `[N, 4]`. There is no
//! gradient. Other operators compute the generator in their own kernels; this one lets a test
//! compare it with the authors' answers.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::philox;
//!
//! let counters = t.named("counters", Shape::u32([100, 4]));
//! let words = philox(t, counters);
//! assert_eq!(t.shape(words), Shape::u32([100, 4]));
//! ```

use super::kernels::philox::Forward;
use crate::rng;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Philox;

/// Four random words for each of the `counters` u32 `[N, 4]`.
#[track_caller]
pub fn philox(t: &mut Tape, counters: Tensor) -> Tensor {
    t.apply1(Philox, &[counters])
}

impl Op for Philox {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [c] if matches!(c.dims(), [_, 4]) && c.dtype == Dtype::U32 => Ok(vec![c]),
            _ => Err("takes counters u32 [N,4]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let count = t.shape(y[0]).dims()[0];
        t.emit_flat(Forward { counters: x[0], y: y[0], count }, count, 0);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let words = |c: &[f64]| rng::philox([0, 1, 2, 3].map(|i| c[i] as u32), [step.seed_low, step.seed_high]);
        let data = x[0].data.chunks(4).flat_map(words).map(f64::from).collect();
        vec![Array { shape: x[0].shape, data }]
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
    formula: "y = Philox 4x32-10(counter)",
    case: |draw: &mut Choices| case(draw.range(1, 200)),
    edge: Vec::new,
    bench: || vec![case(1 << 16)],
};

fn case(count: u32) -> Case {
    Case { op: Rc::new(Philox), inputs: vec![(Shape::u32([count, 4]), Fill::Words)] }
}
