//! The norm of the whole gradient, what to scale it by, and whether it is finite.

use super::kernels::gradient_norm::{Forward, Partial};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Workgroups that share the first stage.
const PARTS: u32 = 256;

/// Global norm and clipping factor.
#[derive(Debug)]
pub struct GradientNorm {
    /// Largest norm that is left unscaled.
    pub limit: f32,
}

/// [norm, scale, finite, 0] of a gradient slab: scale = min(1, limit / (norm + 1e-6)), or zero where the norm is not finite.
#[track_caller]
pub fn gradient_norm(t: &mut Tape, gradients: Tensor, limit: f32) -> Tensor {
    t.apply1(GradientNorm { limit }, &[gradients])
}

impl Op for GradientNorm {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs.len() == 1 { Ok(vec![Shape::f32([4])]) } else { Err("takes one slab".into()) }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let parts = t.transient(Shape::f32([PARTS]));
        t.emit(Partial { g: x[0], parts, count: PARTS, length: shape.vec4s() }, PARTS, 2 * shape.len() as u64);
        t.emit(Forward { sums: parts, norm: y[0], count: PARTS, limit: self.limit }, 1, u64::from(PARTS));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let norm = x[0].data.iter().map(|g| g * g).sum::<f64>().sqrt();
        let scale = (f64::from(self.limit) / (norm + 1e-6)).min(1.0);
        vec![Array { shape: Shape::f32([4]), data: vec![norm, scale, 1.0, 0.0] }]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len()
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[0].len() as u64
    }
}

fn case(length: u32, limit: f32) -> Case {
    Case { op: Rc::new(GradientNorm { limit }), inputs: vec![(Shape::f32([4 * length]), Fill::Normal(1.0))] }
}

/// What tests and benches try.
pub(super) const OPERATOR: Operator = Operator {
    formula: "(|g|, min(1, limit / |g|), finite)",
    case: |draw: &mut Choices| case(draw.range(1, 3000), draw.one_of(&[1.0, 1e6])),
    bench: || vec![case(426_752, 1.0)],
};
