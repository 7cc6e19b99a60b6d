//! Gathers the images of a batch from the data set on the device, turns bytes into [-1, 1], and mirrors half of them if asked to.

use super::kernels::gather_batch::{Classes, Images};
use crate::rng::philox;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, Dtype, Op, Shape, Step, Tape, Tensor, stream};
use std::rc::Rc;

/// Gathers images of this many channels and pixels.
#[derive(Debug)]
pub struct GatherBatch {
    /// Channels.
    pub channels: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Whether images are mirrored left to right at random, each with probability 1/2, by `step.index` and the image's number.
    pub flip: bool,
}

/// Images `[B, C, H, W]` in `[-1, 1]` and labels u32 `[B]`, from `pixels` (u8 `[N, C, H, W]`, four to a word), `labels` u32 `[N]` and image numbers
/// `image` u32 `[B]`.
#[track_caller]
pub fn gather_batch(t: &mut Tape, pixels: Tensor, labels: Tensor, image: Tensor, batch: GatherBatch) -> (Tensor, Tensor) {
    let outputs = t.apply(batch, &[pixels, labels, image]);
    (outputs[0], outputs[1])
}

impl Op for GatherBatch {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [pixels, labels, image] = *inputs else { return Err("takes pixels, labels and image numbers".into()) };
        let words = (u64::from(self.channels * self.height * self.width) * labels.len() as u64).div_ceil(4);
        if inputs.iter().any(|s| s.dtype != Dtype::U32) || pixels.len() as u64 != words {
            return Err(format!("{words} words of pixels are needed for {} images", labels.len()));
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
        t.emit_flat(Classes { labels: x[1], image: x[2], y: y[1], batch: count }, count, 0);
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
            let (b, row, column) = (i / each, i % each / width, i % width);
            let column = if self.flip && word(b) % 2 == 1 { width - 1 - column } else { column };
            byte(x[2].data[b] as usize * each + row * width + column) / 127.5 - 1.0
        });
        let labels = Array::from_fn(Shape::u32([count as u32]), |b| x[1].data[x[2].data[b] as usize]);
        vec![images, labels]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        2
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

/// What tests and benches try.
pub(super) const OPERATOR: Operator = Operator {
    formula: "x = pixels[image] / 127.5 - 1, y = labels[image]",
    case: |draw: &mut Choices| {
        let (channels, height, width) = (draw.range(1, 3), draw.range(1, 9), draw.range(1, 9));
        let op = GatherBatch { channels, height, width, flip: draw.flag() };
        case(op, draw.range(1, 40), draw.range(1, 70))
    },
    bench: || vec![case(GatherBatch { channels: 1, height: 28, width: 28, flip: false }, 10_000, 64)],
};
