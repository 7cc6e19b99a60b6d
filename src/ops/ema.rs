//! Exponential moving average of the parameters. Samples are generated with the EMA weights.
//!
//! average = average + (1 - d) (p - average) in place, with d = `step.ema_decay`. Both tensors are
//! `[N]`. There is no output and no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::ema;
//!
//! let [average, p] = ["average", "parameters"].map(|name| t.named(name, Shape::f32([5000])));
//! ema(t, average, p);
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "ema.forward");
//! ```

use super::kernels::ema::Forward;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

#[derive(Debug)]
struct Ema;

/// Moves `average` towards the parameters `p`, both `[N]`.
#[track_caller]
pub fn ema(t: &mut Tape, average: Tensor, p: Tensor) {
    t.apply(Ema, &[average, p]);
}

impl Op for Ema {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [average, p] if average == p => Ok(vec![]),
            _ => Err("takes two tensors of one shape".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let length = shape.vec4s();
        t.emit_flat(Forward { average: x[0], p: x[1], length }, length, 3 * shape.len() as u64);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let rate = 1.0 - f64::from(step.ema_decay);
        vec![Array::from_fn(x[0].shape, |i| x[0].data[i] + rate * (x[1].data[i] - x[0].data[i]))]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        3
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        3 * inputs[0].len() as u64
    }
}

fn case(length: u32) -> Case {
    Case { op: Rc::new(Ema), inputs: vec![(Shape::f32([length]), Fill::Normal(1.0)); 2] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "a += (1 - decay) (p - a)",
    case: |draw: &mut Choices| case(draw.range(1, 999)),
    edge: Vec::new,
    bench: || vec![case(1_707_009)],
};
