//! A Langevin step: the corrector of predictor-corrector sampling (Song et al. 2021, "Score-based
//! generative modeling through stochastic differential equations", algorithms 4 and 5).
//!
//! Updates the images `x` in place, with noise z ~ N(0, 1) and the coefficients c0 .. c11 of row
//! `step.index` of `table`, of which c2 .. c5 are used:
//!
//! ```text
//! eps = c2 x + c3 output
//! g = c4 eps                       the score
//! delta = c5 (|z| / |g|)²          c5 >= 0
//! x = x + delta g + sqrt(2 delta) z
//! ```
//!
//! x does not change if g is zero. `x` and `output` are `[B, ...]`, `table` is `[S, 12]`. The norms
//! are computed for each image. The paper's code averages them over the batch, but here an image
//! does not depend on its batch. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::langevin;
//!
//! let [x, output] = ["x", "output"].map(|name| t.named(name, Shape::f32([64, 1, 28, 28])));
//! let table = t.named("table", Shape::f32([1000, 12]));
//! langevin(t, x, output, table);
//! assert_eq!(t.calls().last().unwrap().dispatch.entry.label, "langevin.forward");
//! ```

use super::kernels::langevin::{COEFFICIENTS, Forward};
use crate::tape::accuracy::{DIVISION, NORMAL, SQRT};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

// The corrector and the sampler read rows of the same table.
const _: () = assert!(COEFFICIENTS == super::sampler_step::COEFFICIENTS);

#[derive(Debug)]
struct Langevin;

/// Updates the images `x` `[B, ...]` in place, from the network's `output` `[B, ...]` and row
/// `step.index` of `table` `[S, 12]`.
#[track_caller]
pub fn langevin(t: &mut Tape, x: Tensor, output: Tensor, table: Tensor) {
    t.apply(Langevin, &[x, output, table]);
}

impl Op for Langevin {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x, model, table] if x == model && x.dtype == Dtype::F32 && matches!(table.dims(), [_, COEFFICIENTS]) => {
                Ok(vec![])
            }
            _ => Err("takes images, the network's output of their shape and a table [S, 12]".into()),
        }
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], _: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let batch = shape.dims()[0];
        let kernel = Forward { x: x[0], model: x[1], table: x[2], image_size: shape.len() as u32 / batch, batch };
        t.emit(kernel, batch, self.flops(&[shape]));
        t.moves(x[2], 4 * u64::from(COEFFICIENTS));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, inputs: &[Array], step: &Step) -> Vec<Array> {
        let shape = inputs[0].shape;
        let c = &inputs[2].data[12 * step.index as usize..][..12];
        let stream = stream::CORRECTOR | (step.sampler_pass << 8);
        let noise = super::randn::Randn { stream, shape }.reference(&[], step).swap_remove(0);
        let g = Array::from_fn(shape, |i| c[4] * (c[2] * inputs[0].data[i] + c[3] * inputs[1].data[i]));
        let each = shape.len() / shape.dims()[0] as usize;
        let squares =
            |a: &Array| a.data.chunks(each).map(|image| image.iter().map(|v| v * v).sum()).collect::<Vec<f64>>();
        let (of_z, of_g) = (squares(&noise), squares(&g));
        vec![Array::from_fn(shape, |i| {
            let image = i / each;
            let delta = if of_g[image] > 0.0 { c[5] * of_z[image] / of_g[image] } else { 0.0 };
            inputs[0].data[i] + delta * g.data[i] + (2.0 * delta).sqrt() * noise.data[i]
        })]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        inputs[0].len() / inputs[0].dims()[0] as usize
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // delta is a quotient of squares of normal numbers; then its root times a normal number.
        NORMAL + DIVISION / 2.0 + SQRT + NORMAL
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        100 * inputs[0].len() as u64
    }
}

fn case(image: Shape, scale: f32, table: Fill) -> Case {
    let inputs =
        vec![(image, Fill::Normal(scale)), (image, Fill::Normal(scale)), (Shape::f32([5, COEFFICIENTS]), table)];
    Case { op: Rc::new(Langevin), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "x = x + d g + sqrt(2 d) z, d = c5 (|z| / |g|)², g = c4 (c2 x + c3 m)",
    case: |draw: &mut Choices| {
        // At least eight elements per image: if they nearly cancel, the score has no correct digit.
        let batch = draw.range(1, 5);
        let channels = draw.range(1, 3);
        let height = draw.range(1, 19);
        let low = 8u32.div_ceil(channels * height);
        let width = draw.range(low, low + 8);
        // A table of zeros gives a score of zero.
        let table = if draw.range(0, 3) == 3 { Fill::Uniform(0.0, 0.0) } else { Fill::Uniform(0.1, 1.0) };
        case(Shape::f32([batch, channels, height, width]), draw.one_of(&[1.0, 0.01]), table)
    },
    edge: Vec::new,
    bench: || vec![case(Shape::f32([64, 1, 28, 28]), 1.0, Fill::Uniform(0.1, 1.0))],
};
