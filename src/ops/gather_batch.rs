//! Gathers the images and labels of a batch from a data set on the device, and converts bytes to
//! [-1, 1].
//!
//! `x = pixels[image] / 127.5 - 1` and `y = labels[image]`. Inputs: `pixels` u8 `[N, C, H, W]` as
//! u32 words of four bytes, `labels` u32 `[N]` and `image` u32 `[B]`. Outputs: images `[B, C, H,
//! W]` and labels u32 `[B]`. Images can be flipped left to right at random. There is no gradient.
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{GatherBatch, gather_batch};
//!
//! let pixels = t.named("pixels", Shape::u32([1000 * 28 * 28 / 4]));
//! let labels = t.named("labels", Shape::u32([1000]));
//! let image = t.named("image", Shape::u32([64]));
//! let settings = GatherBatch { channels: 1, height: 28, width: 28, flip: false };
//! let (x, y) = gather_batch(t, pixels, labels, image, settings);
//! assert_eq!((t.shape(x), t.shape(y)), (Shape::f32([64, 1, 28, 28]), Shape::u32([64])));
//! ```

use super::kernels::gather_batch::{Classes, Images};
use crate::rng::philox;
use crate::tape::accuracy::DIVISION;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Shape of the images, and whether they are flipped.
#[derive(Debug)]
pub struct GatherBatch {
    /// Channels.
    pub channels: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Whether images are flipped left to right, each with probability 1/2, by the seed,
    /// `step.index` and the image's number.
    pub flip: bool,
}

/// The images `[B, C, H, W]` with the numbers `image` u32 `[B]`, and their labels u32 `[B]`.
#[track_caller]
pub fn gather_batch(
    t: &mut Tape,
    pixels: Tensor,
    labels: Tensor,
    image: Tensor,
    settings: GatherBatch,
) -> (Tensor, Tensor) {
    let outputs = t.apply(settings, &[pixels, labels, image]);
    (outputs[0], outputs[1])
}

impl Op for GatherBatch {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [pixels, labels, image] = *inputs else { return Err("takes pixels, labels and image numbers".into()) };
        let words = (u64::from(self.channels * self.height * self.width) * labels.len() as u64).div_ceil(4);
        if inputs.iter().any(|s| s.dtype != Dtype::U32) || pixels.len() as u64 != words {
            return Err(format!("{} images need {words} words of pixels", labels.len()));
        }
        let count = image.len() as u32;
        Ok(vec![Shape::f32([count, self.channels, self.height, self.width]), Shape::u32([count])])
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let (shape, count) = (t.shape(y[0]), t.shape(y[1]).len() as u32);
        let (length, image_size) = (shape.len() as u32, self.channels * self.height * self.width);
        let (width, flip) = (self.width, self.flip);
        let images = Images { pixels: x[0], image: x[2], x: y[0], image_size, length, width, flip };
        t.emit_flat(images, length, 2 * u64::from(length));
        t.moves(x[0], u64::from(length)); // a byte for each element
        t.emit_flat(Classes { labels: x[1], image: x[2], y: y[1], batch: count }, count, 0);
        t.moves(x[1], 4 * u64::from(count));
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], step: &Step) -> Vec<Array> {
        let each = (self.channels * self.height * self.width) as usize;
        let byte = |at: usize| f64::from((x[0].data[at / 4] as u32 >> (8 * (at % 4))) & 255);
        let count = x[2].data.len();
        let shape = Shape::f32([count as u32, self.channels, self.height, self.width]);
        let (width, seed) = (self.width as usize, [step.seed_low, step.seed_high]);
        let word = |b: usize| philox([stream::FLIP, step.index, step.first_image + b as u32, 0], seed)[0];
        let images = Array::from_fn(shape, |i| {
            let b = i / each;
            let row = i % each / width;
            let column = i % width;
            let column = if self.flip && word(b) % 2 == 1 { width - 1 - column } else { column };
            byte(x[2].data[b] as usize * each + row * width + column) / 127.5 - 1.0
        });
        let labels = Array::from_fn(Shape::u32([count as u32]), |b| x[1].data[x[2].data[b] as usize]);
        vec![images, labels]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        2
    }

    fn function_error(&self, _: &[Array]) -> f64 {
        // A quotient of up to 2, minus 1.
        2.0 * DIVISION
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        2 * inputs[2].len() as u64 * u64::from(self.channels * self.height * self.width)
    }
}

fn case(op: GatherBatch, count: u32, batch: u32) -> Case {
    let words = (op.channels * op.height * op.width * count).div_ceil(4);
    let inputs = vec![
        (Shape::u32([words]), Fill::Words),
        (Shape::u32([count]), Fill::Below(10)),
        (Shape::u32([batch]), Fill::Below(count)),
    ];
    Case { op: Rc::new(op), inputs }
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "x = pixels[image] / 127.5 - 1, y = labels[image]",
    case: |draw: &mut Choices| {
        let channels = draw.range(1, 3);
        let height = draw.range(1, 9);
        let width = draw.range(1, 9);
        let op = GatherBatch { channels, height, width, flip: draw.flag() };
        case(op, draw.range(1, 40), draw.range(1, 70))
    },
    edge: Vec::new,
    bench: || vec![case(GatherBatch { channels: 1, height: 28, width: 28, flip: false }, 10_000, 64)],
};
