//! Norm of the whole gradient, the factor that clips it, and whether it is finite.
//!
//! The output `[4]` is (norm, scale, finite, 0) for the gradients g of all parameters `[N]`: scale
//! = min(1, limit / (norm + 1e-6)) as in PyTorch's `clip_grad_norm_`. If the norm is not finite,
//! scale and finite are zero, otherwise finite is one. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::gradient_norm;
//!
//! let gradients = t.named("gradients", Shape::f32([5000]));
//! let norm = gradient_norm(t, gradients, 1.0);
//! assert_eq!(t.shape(norm), Shape::f32([4]));
//! ```

use super::kernels::gradient_norm::{Forward, Partial};
use crate::tape::accuracy::{DIVISION, SQRT};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Workgroups of the first stage.
const PARTS: u32 = 256;

#[derive(Debug)]
struct GradientNorm {
    limit: f32,
}

/// Norm of `gradients` `[N]`, the scale that clips it to `limit`, and whether it is finite: `[4]`.
#[track_caller]
pub fn gradient_norm(t: &mut Tape, gradients: Tensor, limit: f32) -> Tensor {
    t.apply1(GradientNorm { limit }, &[gradients])
}

impl Op for GradientNorm {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs.len() == 1 { Ok(vec![Shape::f32([4])]) } else { Err("takes one tensor".into()) }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let n = t.shape(x[0]).len() as u32;
        let parts = t.transient(Shape::f32([PARTS]));
        t.emit(Partial { g: x[0], parts, count: PARTS, n }, PARTS, 2 * u64::from(n));
        t.emit(Forward { sums: parts, norm: y[0], count: PARTS, limit: self.limit }, 1, u64::from(PARTS));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let norm = x[0].data.iter().map(|g| g * g).sum::<f64>().sqrt();
        let scale = (f64::from(self.limit) / (norm + 1e-6)).min(1.0);
        let data = if !norm.is_finite() { vec![norm, 0.0, 0.0, 0.0] } else { vec![norm, scale, 1.0, 0.0] };
        vec![Array { shape: Shape::f32([4]), data }]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len()
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        SQRT + DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[0].len() as u64
    }
}

fn case(length: u32, limit: f32) -> Case {
    Case { op: Rc::new(GradientNorm { limit }), inputs: vec![(Shape::f32([length]), Fill::Normal(1.0))] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "(|g|, min(1, limit / |g|), finite)",
    case: |draw: &mut Choices| case(draw.range(1, 12_000), draw.one_of(&[1.0, 1e6])),
    // One element after a multiple of four; gradients that are zero; and some that are not finite: infinity,
    // and a NaN whose lowest bit is set, which most do not have.
    edge: || {
        const VALUES: [&[f32]; 3] = [&[0.0], &[1.0, f32::INFINITY, 2.0], &[1.0, f32::from_bits(0x7fc0_0001), 2.0]];
        let filled = |values| {
            let inputs = vec![(Shape::f32([30]), Fill::Values(values))];
            Case { op: Rc::new(GradientNorm { limit: 1.0 }), inputs }
        };
        VALUES.map(filled).into_iter().chain([case(9, 1.0)]).collect()
    },
    bench: || vec![case(1_707_008, 1.0)],
};
