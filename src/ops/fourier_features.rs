//! Fourier features: sines and cosines of the values of an image as more channels.
//!
//! For frequencies f to f + N - 1, y `[B, (1 + 2 N) C, ...]` has the channels of `x` `[B, C, ...]`,
//! then those of sin(2^f pi z), cos(2^f pi z), sin(2^(f+1) pi z) and so on, with z = 255/256 x
//! (Kingma et al. 2021, appendix C, with f = 7 and N = 2). z is the paper's encoding of a byte b,
//! (2 b + 1) / 256 - 1, where x is 2 b / 255 - 1. With frequency 8, one period is one gray level: all
//! bytes have the same sine and cosine, and a value between two bytes has others. With frequency 7,
//! even and odd bytes differ. Likelihoods depend on such small differences. Differentiable in `x`.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::fourier_features;
//!
//! let x = t.named("x", Shape::f32([64, 1, 28, 28]));
//! let y = fourier_features(t, x, 7, 2);
//! assert_eq!(t.shape(y), Shape::f32([64, 5, 28, 28]));
//! ```

use super::kernels::fourier_features::{Backward, Forward};
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Node, Op, Shape, Step, Tape, Tensor};
use std::f64::consts::PI;
use std::rc::Rc;

/// Frequencies are below this: 2^16 pi z still distinguishes neighboring values of f32 near 1.
pub const MAX_FREQUENCY: u32 = 16;
/// Roundings of the prelude's sine and cosine, polynomials in f32.
const WAVE_TERMS: usize = 8;

#[derive(Debug)]
struct FourierFeatures {
    first: u32,
    count: u32,
}

/// `x` `[B, C, ...]` and the sines and cosines of 2^k pi 255/256 `x` for `count` frequencies k from
/// `first` on: `[B, (1 + 2 count) C, ...]`.
#[track_caller]
pub fn fourier_features(t: &mut Tape, x: Tensor, first: u32, count: u32) -> Tensor {
    t.apply1(FourierFeatures { first, count }, &[x])
}

impl FourierFeatures {
    /// Values of an image of `x`.
    fn image(x: Shape) -> u32 {
        x.len() as u32 / x.dims()[0]
    }
}

impl Op for FourierFeatures {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dtype == Dtype::F32
                && x.dims().len() >= 2
                && self.count > 0
                && self.first + self.count <= MAX_FREQUENCY =>
            {
                let mut dims = x.dims().to_vec();
                dims[1] *= 1 + 2 * self.count;
                Ok(vec![Shape::new(&dims, Dtype::F32)])
            }
            _ => Err(format!("takes [B, C, ...], with frequencies below {MAX_FREQUENCY}")),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        let &FourierFeatures { first, count } = self;
        let length = shape.len() as u32;
        let kernel = Forward { x: x[0], y: y[0], image: Self::image(shape), first, count, length };
        t.emit_flat(kernel, length, self.flops(&[shape]));
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let (shape, &FourierFeatures { first, count }) = (t.shape(x), self);
        let (length, image) = (shape.len() as u32, Self::image(shape));
        let flops = 25 * u64::from(count) * shape.len() as u64;
        t.grad(x, |t, dx, add| t.emit_flat(Backward { x, dy, dx, add, image, first, count, length }, length, flops));
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let x = &x[0];
        let image = Self::image(x.shape) as usize;
        let blocks = 1 + 2 * self.count as usize;
        let mut dims = x.shape.dims().to_vec();
        dims[1] *= blocks as u32;
        vec![Array::from_fn(Shape::new(&dims, Dtype::F32), |i| {
            let (row, block, rest) = (i / (image * blocks), i / image % blocks, i % image);
            let value = x.data[row * image + rest];
            let z = 255.0 / 256.0 * value;
            let angle = |block: usize| 2f64.powi(self.first as i32 + (block as i32 - 1) / 2) * PI * z;
            match block {
                0 => value,
                odd if odd % 2 == 1 => angle(odd).sin(),
                even => angle(even).cos(),
            }
        })]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        WAVE_TERMS + 2 * self.count as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        20 * u64::from(self.count) * inputs[0].len() as u64
    }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = (x, sin 2^f πz, cos 2^f πz, ...), z = 255/256 x",
    case: |draw: &mut Choices| {
        let shape = Shape::f32([draw.range(1, 4), draw.range(1, 4), draw.range(1, 30), draw.range(1, 9)]);
        let op = FourierFeatures { first: draw.range(0, 8), count: draw.range(1, 4) };
        // A few periods of the highest frequency: the reference gradient is a central difference, whose
        // step is relative to the range of the inputs.
        let most = 8.0 / (1u32 << (op.first + op.count)) as f32;
        Case { op: Rc::new(op), inputs: vec![(shape, Fill::Uniform(-most, most))] }
    },
    edge: Vec::new,
    bench: || {
        let op = FourierFeatures { first: 7, count: 2 };
        vec![Case { op: Rc::new(op), inputs: vec![(Shape::f32([64, 1, 28, 28]), Fill::Normal(1.0))] }]
    },
};
