//! AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"): one step for all
//! parameters of a model at once. Without weight decay it is Adam (Kingma and Ba 2015).
//!
//! With g the gradient times the scale of the clipped norm, rate `step.learning_rate`, and the bias
//! corrections c1 = `step.first_correction` and c2 = `step.second_correction`:
//!
//! ```text
//! m = beta1 m + (1 - beta1) g
//! v = beta2 v + (1 - beta2) g²
//! p = p - rate (c1 m / (sqrt(c2 v) + epsilon) + weight_decay p)
//! ```
//!
//! If the gradient is not finite according to `norm`, nothing changes. Inputs: parameters,
//! gradients and both moments, `[N]` each; `norm` `[4]`. There is no output and no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{Adam, AdamState, adam, gradient_norm};
//!
//! let names = ["parameters", "gradients", "first", "second"];
//! let [p, g, m, v] = names.map(|name| t.named(name, Shape::f32([5000])));
//! let norm = gradient_norm(t, g, 1.0);
//! let settings = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
//! adam(t, AdamState { p, g, m, v }, norm, settings);
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "adam.forward");
//! ```

use super::kernels::adam::Forward;
use crate::tape::accuracy::{DIVISION, SQRT};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Settings of AdamW. A weight decay of zero makes it Adam.
#[derive(Clone, Debug)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the square root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

/// The tensors of an update, all of one shape.
#[derive(Clone, Copy, Debug)]
pub struct AdamState {
    /// Parameters, updated in place.
    pub p: Tensor,
    /// Gradients of the parameters.
    pub g: Tensor,
    /// First moment, updated in place.
    pub m: Tensor,
    /// Second moment, updated in place.
    pub v: Tensor,
}

/// Updates parameters and moments in place, from the gradients times the scale in `norm` `[4]`, the
/// result of [`gradient_norm`](super::gradient_norm()).
#[track_caller]
pub fn adam(t: &mut Tape, state: AdamState, norm: Tensor, settings: Adam) {
    let AdamState { p, g, m, v } = state;
    t.apply(settings, &[p, g, m, v, norm]);
}

impl Op for Adam {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [p, g, m, v, norm] if p == g && p == m && p == v && norm == Shape::f32([4]) => Ok(vec![]),
            _ => Err("takes four tensors of one shape, and the norm of the gradient [4]".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 2, 3]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let length = shape.vec4s();
        let Adam { beta1, beta2, epsilon, weight_decay } = *self;
        let kernel =
            Forward { p: x[0], g: x[1], m: x[2], v: x[3], norm: x[4], beta1, beta2, epsilon, weight_decay, length };
        t.emit_flat(kernel, length, 15 * shape.len() as u64);
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let [beta1, beta2, epsilon, decay] = [self.beta1, self.beta2, self.epsilon, self.weight_decay].map(f64::from);
        let [rate, c1, c2] = [step.learning_rate, step.first_correction, step.second_correction].map(f64::from);
        let mut updated = [x[0].clone(), x[2].clone(), x[3].clone()];
        if x[4].data[2] == 1.0 {
            for i in 0..x[0].data.len() {
                let g = x[4].data[1] * x[1].data[i];
                let m = beta1 * x[2].data[i] + (1.0 - beta1) * g;
                let v = beta2 * x[3].data[i] + (1.0 - beta2) * g * g;
                updated[0].data[i] -= rate * (c1 * m / ((c2 * v).sqrt() + epsilon) + decay * x[0].data[i]);
                (updated[1].data[i], updated[2].data[i]) = (m, v);
            }
        }
        updated.into()
    }

    fn terms(&self, _: &[Shape]) -> usize {
        16
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        SQRT + DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        15 * inputs[0].len() as u64
    }
}

fn case(length: u32, weight_decay: f32, finite: bool) -> Case {
    let shape = Shape::f32([length]);
    let second = (shape, Fill::Uniform(0.1, 2.0));
    let norm = if finite { Fill::Values(&[7.0, 0.25, 1.0, 0.0]) } else { Fill::Values(&[7.0, 0.25, 0.0, 1.0]) };
    let norm = (Shape::f32([4]), norm);
    let op = Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay };
    Case {
        op: Rc::new(op),
        inputs: vec![(shape, Fill::Normal(1.0)), (shape, Fill::Normal(1.0)), (shape, Fill::Normal(1.0)), second, norm],
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "AdamW on all parameters at once",
    case: |draw: &mut Choices| case(draw.range(1, 999), draw.one_of(&[0.1, 0.0]), !draw.flag()),
    // Second moments whose roots are as small as epsilon.
    edge: || {
        let mut case = case(30, 0.0, true);
        let tiny = Fill::Normal(1e-9);
        (case.inputs[1].1, case.inputs[2].1, case.inputs[3].1) = (tiny, tiny, Fill::Uniform(0.0, 1e-16));
        vec![case]
    },
    bench: || vec![case(1_707_009, 1e-6, true)],
};
