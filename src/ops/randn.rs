//! Normal noise N(0, 1), from Philox 4x32-10 and the Box-Muller transform.
//!
//! The output `[B, ...]` depends on the seed, `step.index`, the numbers of the images,
//! `step.first_image + b`, and the random stream, one of [`stream`]. An image's noise does not
//! depend on its batch. There is no input and no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::randn;
//! use degrain::tape::stream;
//!
//! let eps = randn(t, stream::NOISE, Shape::f32([64, 1, 28, 28]));
//! assert_eq!(t.shape(eps), Shape::f32([64, 1, 28, 28]));
//! ```

use super::kernels::randn::Forward;
use crate::rng::{normal4, philox};
use crate::tape::accuracy::NORMAL;
use crate::tape::testing::{Case, Choices, Operator};
use crate::tape::{Array, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Normal noise `[B, ...]`.
#[derive(Debug)]
pub(super) struct Randn {
    /// The random stream.
    pub stream: u32,
    /// Shape of the result.
    pub shape: Shape,
}

/// Normal noise of the given shape `[B, ...]`, from one of the random streams [`stream`].
#[track_caller]
pub fn randn(t: &mut Tape, stream: u32, shape: Shape) -> Tensor {
    t.apply1(Randn { stream, shape }, &[])
}

impl Op for Randn {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if inputs.is_empty() { Ok(vec![self.shape]) } else { Err("takes no tensor".into()) }
    }

    fn forward(&self, t: &mut Tape, _: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let batch = self.shape.dims()[0];
        let image_size = self.shape.len() as u32 / batch;
        let kernel = Forward { y: y[0], stream: self.stream, image_size, batch };
        t.emit_flat(kernel, batch * image_size.div_ceil(4), self.flops(&[]));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, _: &[Array], step: &Step) -> Vec<Array> {
        let each = self.shape.len() / self.shape.dims()[0] as usize;
        vec![Array::from_fn(self.shape, |i| {
            let (b, k) = ((i / each) as u32, i % each);
            let counter = [self.stream, step.index, step.first_image + b, k as u32 / 4];
            normal4(philox(counter, [step.seed_low, step.seed_high]))[k % 4]
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        4
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        NORMAL
    }

    fn flops(&self, _: &[Shape]) -> u64 {
        40 * self.shape.len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "z ~ N(0, 1), Philox 4x32-10 and Box-Muller",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 5), draw.range(1, 3), draw.range(1, 30), draw.range(1, 7)]);
        let stream = draw.one_of(&[stream::NOISE, stream::SAMPLE, stream::SAMPLER]);
        Case { op: Rc::new(Randn { stream, shape }), inputs: vec![] }
    },
    // Images of whole blocks that fill their workgroup exactly.
    edge: || {
        let op = Randn { stream: stream::NOISE, shape: Shape::f32([16, 1, 4, 4]) };
        vec![Case { op: Rc::new(op), inputs: vec![] }]
    },
    bench: || {
        let op = Randn { stream: stream::NOISE, shape: Shape::f32([64, 1, 28, 28]) };
        vec![Case { op: Rc::new(op), inputs: vec![] }]
    },
};
