//! Classifier-free guidance (Ho and Salimans 2022, eq. 6): combines the network's outputs with and
//! without labels.
//!
//! g = u + s (c - u) with the scale s = `step.guidance`, from the output u without labels and the
//! output c with labels, which are the first and the second half of `output` `[2B, ...]`. The
//! result `[B, ...]` is rescale g std(c) / std(g) + (1 - rescale) g, with standard deviations over
//! each image (Lin et al. 2023, section 3.4). There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{Guidance, guidance};
//!
//! let output = t.named("output", Shape::f32([128, 1, 28, 28]));
//! let guided = guidance(t, output, Guidance { rescale: 0.0 });
//! assert_eq!(t.shape(guided), Shape::f32([64, 1, 28, 28]));
//! ```

use super::kernels::guidance::{Forward, Rescaled};
use crate::tape::accuracy::{DIVISION, SQRT};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Settings of the guidance. The scale is `step.guidance`.
#[derive(Debug)]
pub struct Guidance {
    /// Fraction of the result that is rescaled to the standard deviation of the output with labels:
    /// phi of Lin et al. 2023, who use 0.7.
    pub rescale: f32,
}

/// Combines the halves of `output` `[2B, ...]`: `[B, ...]`.
#[track_caller]
pub fn guidance(t: &mut Tape, output: Tensor, settings: Guidance) -> Tensor {
    t.apply1(settings, &[output])
}

impl Op for Guidance {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        if !(0.0..=1.0).contains(&self.rescale) {
            return Err("`rescale` must be in [0, 1]".into());
        }
        match *inputs {
            [model] if model.dtype == Dtype::F32 && model.dims().first().is_some_and(|batch| batch % 2 == 0) => {
                let mut dims = model.dims().to_vec();
                dims[0] /= 2;
                Ok(vec![Shape::new(&dims, model.dtype)])
            }
            _ => Err("takes the network's output for a doubled batch [2B, ...]".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(y[0]);
        let (batch, length) = (shape.dims()[0], shape.len() as u32);
        let model = x[0];
        let m = y[0];
        let rescale = self.rescale;
        let flops = self.flops(&[t.shape(x[0])]);
        if rescale == 0.0 {
            t.emit_flat(Forward { model, m, length }, length, flops);
        } else {
            let kernel = Rescaled { model, m, image_size: length / batch, rescale, length };
            t.emit(kernel, batch, flops);
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let shape = self.outputs(&[x[0].shape]).expect("checked when it was applied")[0];
        let (u, c) = x[0].data.split_at(shape.len());
        let scale = f64::from(step.guidance);
        let mut g: Vec<f64> = u.iter().zip(c).map(|(u, c)| u + scale * (c - u)).collect();
        let (rescale, each) = (f64::from(self.rescale), shape.len() / shape.dims()[0] as usize);
        for (g, c) in g.chunks_mut(each).zip(c.chunks(each)) {
            let (of_c, of_g) = (deviation(c), deviation(g));
            let ratio = if of_g > 0.0 { of_c / of_g } else { 1.0 };
            g.iter_mut().for_each(|g| *g = rescale * *g * ratio + (1.0 - rescale) * *g);
        }
        vec![Array { shape, data: g }]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        if self.rescale == 0.0 { 3 } else { inputs[0].len() / inputs[0].dims()[0] as usize }
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // Two means; then the root of a quotient.
        if self.rescale == 0.0 { 0.0 } else { 2.0 * DIVISION + SQRT }
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        (if self.rescale == 0.0 { 3 } else { 18 }) * inputs[0].len() as u64 / 2
    }
}

/// Standard deviation, without the correction for a sample, which cancels in the ratio.
fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn case(model: Shape, rescale: f32, fill: Fill) -> Case {
    Case { op: Rc::new(Guidance { rescale }), inputs: vec![(model, fill)] }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "m = u + s (c - u), and a part of it scaled to the deviation of c",
    case: |draw: &mut Choices| {
        let rescale = draw.one_of(&[0.0, 0.7, 1.0]);
        // A mean of zero, with a large or a small standard deviation, or one far from zero.
        let fill = draw.one_of(&[Fill::Normal(1.0), Fill::Normal(0.01), Fill::Uniform(15.0, 17.0)]);
        // A single element has no standard deviation. Otherwise at least eight: the differences of
        // two or three may nearly cancel.
        let batch = 2 * draw.range(1, 5);
        let channels = draw.range(1, 3);
        let height = draw.range(1, 19);
        let low = 8u32.div_ceil(channels * height);
        let width = draw.range(low, low + 12);
        let single = draw.range(0, 3) == 3;
        case(if single { Shape::f32([batch, 1]) } else { Shape::f32([batch, channels, height, width]) }, rescale, fill)
    },
    edge: Vec::new,
    bench: || [0.0, 0.7].map(|rescale| case(Shape::f32([128, 1, 28, 28]), rescale, Fill::Normal(1.0))).into(),
};
