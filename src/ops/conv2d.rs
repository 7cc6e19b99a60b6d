//! Convolution of images with 1x1 and 3x3 kernels, stride 1 or 2, and a bias.
//!
//! `x` is `[B, Ci, H, W]`, `w` `[Co, Ci, k, k]` as PyTorch stores it, `b` `[Co]` and the output
//! `[B, Co, H', W']`. As in PyTorch the kernel is not mirrored. [`Padding`] decides H' and W'.
//! Differentiable in `x`, `w` and `b`.
//!
//! [`conv2d_add`] adds a map to the result, and [`conv2d_add_channels`] a number for each image and
//! channel, as in residual blocks. The tiled variant does that when it stores the result, the
//! others with one more call.
//!
//! The tiled variant is an implicit matrix product: a workgroup computes a tile of channels times
//! pixels. Its forms are tiles of several shapes. The subgroup variant has the files
//! `conv2d_subgroup.wgsl`, `conv2d_stride2_subgroup.wgsl` and `conv2d_point_subgroup.wgsl`. With
//! 64-bit integers there are more forms: for 3x3 Winograd's algorithm
//! (`conv2d_winograd_*_wide.wgsl`) and a direct form (`conv2d_direct*_wide.wgsl`), and one for 1x1
//! (`conv2d_point*_wide.wgsl`).
//!
//! ```
//! # use degrain::{gpu::Target, tape::{Shape, Tape}};
//! # let t = &mut Tape::new(Target::DISCRETE_GPU);
//! use degrain::ops::{Conv2d, Padding, conv2d};
//!
//! let x = t.named("x", Shape::f32([64, 1, 28, 28]));
//! let w = t.named("weight", Shape::f32([32, 1, 3, 3]));
//! let b = t.named("bias", Shape::f32([32]));
//! let y = conv2d(t, x, w, b, Conv2d { stride: 1, padding: Padding::Same });
//! assert_eq!(t.shape(y), Shape::f32([64, 32, 28, 28]));
//! ```

mod addend;
mod direct_wide;
mod point_odd;
mod point_parts;
mod point_wide;
mod sizes;
mod subgroup;
mod tiled;
mod winograd;
mod winograd_weight;

use self::addend::Addend;
use self::sizes::{ConvSizes, Partial};
use super::destination::Destination;
use super::row_sums;
use crate::gpu::KernelVariant;
use crate::tape::testing::{Case, Choices, Fill, Operator};
use crate::tape::{Array, KernelClass, LateSum, Node, Op, RowSum, Shape, Step, Tape, Tensor};
use std::rc::Rc;

/// Zeros around the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// No padding: the output is smaller than the image.
    None,
    /// (k - 1) / 2 on every side. With stride 1 the output has the size of the image.
    Same,
    /// One row at the bottom and one column at the right, for 3x3 kernels. With stride 2 the output
    /// has half the size of the image, rounded down.
    RightBottom,
}

/// Settings of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// Distance between neighboring positions of the kernel, 1 or 2 pixels.
    pub stride: u32,
    /// Zeros around the image.
    pub padding: Padding,
}

/// Convolution of `x` `[B, Ci, H, W]` with `w` `[Co, Ci, k, k]`, plus the bias `b` `[Co]`.
#[track_caller]
pub fn conv2d(t: &mut Tape, x: Tensor, w: Tensor, b: Tensor, settings: Conv2d) -> Tensor {
    t.apply1(Convolution { settings, addend: Addend::Nothing }, &[x, w, b])
}

/// [`conv2d`] of `[x, w, b]`, plus `map`, which has the shape of the result.
#[track_caller]
pub fn conv2d_add(t: &mut Tape, [x, w, b]: [Tensor; 3], settings: Conv2d, map: Tensor) -> Tensor {
    t.apply1(Convolution { settings, addend: Addend::Map }, &[x, w, b, map])
}

/// [`conv2d`] of `[x, w, b]`, plus columns `first` to `first + Co` of `e` `[B, E]`: a number for
/// each image and channel.
#[track_caller]
pub fn conv2d_add_channels(t: &mut Tape, [x, w, b]: [Tensor; 3], settings: Conv2d, e: Tensor, first: u32) -> Tensor {
    t.apply1(Convolution { settings, addend: Addend::Channels { first } }, &[x, w, b, e])
}

#[derive(Debug)]
struct Convolution {
    settings: Conv2d,
    addend: Addend,
}

impl Conv2d {
    fn sizes(&self, x: Shape, w: Shape) -> Result<ConvSizes, String> {
        let (&[batch, channels_in, height_in, width_in], &[channels_out, channels, kernel, columns]) =
            (x.dims(), w.dims())
        else {
            return Err("takes x [B,Ci,H,W] and w [Co,Ci,k,k]".into());
        };
        if channels != channels_in || kernel != columns || ![1, 3].contains(&kernel) {
            return Err("takes w [Co,Ci,k,k] with the channels of x and k = 1 or 3".into());
        }
        if ![1, 2].contains(&self.stride) {
            return Err("the stride must be 1 or 2".into());
        }
        let (pad, around) = match self.padding {
            Padding::None => (0, 0),
            Padding::Same => (kernel / 2, kernel - 1),
            Padding::RightBottom if kernel == 1 => return Err("RightBottom needs a 3x3 kernel".into()),
            Padding::RightBottom => (0, 1),
        };
        if height_in + around < kernel || width_in + around < kernel {
            return Err("the image is smaller than the kernel".into());
        }
        let size = |size: u32| (size + around - kernel) / self.stride + 1;
        let (height, width) = (size(height_in), size(width_in));
        Ok(ConvSizes {
            batch,
            channels_in,
            height_in,
            width_in,
            channels_out,
            height,
            width,
            kernel,
            stride: self.stride,
            pad,
        })
    }

    fn known(&self, t: &Tape, x: Tensor, w: Tensor) -> ConvSizes {
        self.sizes(t.shape(x), t.shape(w)).unwrap_or_else(|rule| panic!("{rule}"))
    }
}

impl Op for Convolution {
    fn outputs(&self, inputs: &[Shape]) -> Result<Vec<Shape>, String> {
        let [x, w, b, ..] = *inputs else { return Err("takes x, w and b".into()) };
        let s = self.settings.sizes(x, w)?;
        if b.dims() != [s.channels_out] {
            return Err("takes b [Co]".into());
        }
        self.addend.check(s.result(), inputs.get(3))?;
        Ok(vec![s.result()])
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let s = self.settings.known(t, x[0], x[1]);
        t.choose(self.class("forward", t, s), |t, form| {
            let given = x.get(3).copied();
            let sum = if given.is_some() { t.transient(s.result()) } else { y[0] };
            match form {
                WINOGRAD => winograd::forward(t, s, x, sum),
                WIDE => point_wide::forward(t, s, x, sum),
                DIRECT => direct_wide::forward(t, s, x, sum),
                SUBGROUP => subgroup::forward(t, s, x, sum),
                _ => return tiled::forward(t, (s, form), x, (self.addend, given), y[0]),
            }
            if let Some(given) = given {
                self.addend.record(t, sum, given, y[0]);
            }
        });
        vec![]
    }

    fn backward(&self, t: &mut Tape, node: &Node, dy: Tensor) {
        let x = node.inputs[0];
        let w = node.inputs[1];
        let b = node.inputs[2];
        let s = self.settings.known(t, x, w);
        if let Some(&given) = node.inputs.get(3) {
            self.addend.backward(t, given, dy);
        }
        t.grad(x, |t, dx, add| {
            let dx = Destination { tensor: dx, add };
            t.choose(self.class("backward_input", t, s), |t, form| match form {
                WINOGRAD => winograd::backward_input(t, s, dy, w, dx),
                WIDE => point_wide::backward_input(t, s, dy, w, dx),
                DIRECT => direct_wide::backward_input(t, s, dy, w, dx),
                SUBGROUP => subgroup::backward_input(t, s, dy, w, dx),
                _ => tiled::backward_input(t, (s, form), dy, w, dx),
            });
        });
        t.grad2(w, b, |t, dw, db, add| {
            t.choose(self.class("backward_weight", t, s), |t, form| {
                let partial = match form {
                    WINOGRAD => return winograd_weight::backward_weight(t, s, [x, dy], [dw, db], add),
                    WIDE => return point_wide::backward_weight(t, s, [x, dy], [dw, db], add),
                    SUBGROUP => subgroup::backward_weight(t, s, x, dy),
                    _ => tiled::backward_weight(t, (s, form), x, dy),
                };
                sum_splits(t, s, partial, [dw, db], add);
            });
        });
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let s = self.settings.sizes(x[0].shape, x[1].shape).unwrap_or_else(|rule| panic!("{rule}"));
        let stride = self.settings.stride;
        let mut y = Vec::new();
        for (n, o) in (0..s.batch).flat_map(|n| (0..s.channels_out).map(move |o| (n, o))) {
            for (i, j) in (0..s.height).flat_map(|i| (0..s.width).map(move |j| (i, j))) {
                let mut sum = x[2].data[o as usize] + self.addend.value(x.get(3), s.result(), y.len());
                for c in 0..s.channels_in {
                    for (r, q) in (0..s.kernel).flat_map(|r| (0..s.kernel).map(move |q| (r, q))) {
                        let (row, column) =
                            ((stride * i + r).wrapping_sub(s.pad), (stride * j + q).wrapping_sub(s.pad));
                        if row < s.height_in && column < s.width_in {
                            let at = ((n * s.channels_in + c) * s.height_in + row) * s.width_in + column;
                            let weight = ((o * s.channels_in + c) * s.kernel + r) * s.kernel + q;
                            sum += x[0].data[at as usize] * x[1].data[weight as usize];
                        }
                    }
                }
                y.push(sum);
            }
        }
        vec![Array { shape: s.result(), data: y }]
    }

    fn terms(&self, inputs: &[Shape]) -> usize {
        let area = inputs[1].dims()[2..].iter().product::<u32>() as usize;
        let channels = inputs[1].dims()[..2].iter().copied().max().unwrap_or(1) as usize;
        let pixels = inputs[0].len() / inputs[0].dims()[1] as usize;
        1 + pixels.max(channels * area)
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        self.settings.sizes(inputs[0], inputs[1]).map_or(0, |s| s.flops())
    }
}

impl Convolution {
    /// The class of its work, with the forms that fit.
    fn class(&self, work: &str, t: &Tape, s: ConvSizes) -> KernelClass {
        let ConvSizes { channels_in, height_in, width_in, channels_out, kernel, stride, .. } = s;
        let mut forms = Vec::new();
        if point_wide::fits(t, s) {
            forms.push(WIDE);
        }
        if t.target().variant == KernelVariant::Subgroup && (s.kernel == 3 || s.stride == 1) {
            forms.push(SUBGROUP);
        }
        let source = if work == "forward" { channels_in } else { channels_out };
        if work != "backward_weight" && direct_wide::fits(t, s) {
            let first = if direct_wide::pays(source) { 0 } else { forms.len() };
            forms.insert(first, DIRECT);
        }
        if winograd::fits(t, s) {
            let channels = if work == "backward_weight" { winograd::WEIGHT_CHANNELS } else { winograd::INPUT_CHANNELS };
            let first = if winograd::pays(s, channels) { 0 } else { forms.len() };
            forms.insert(first, WINOGRAD);
        }
        if forms.is_empty() {
            forms = match work {
                "backward_weight" => tiled::weight_forms(s),
                "backward_input" => tiled::forms(t.target(), channels_in, height_in * width_in),
                _ => tiled::forms(t.target(), channels_out, s.height * s.width),
            };
        }
        let batch = match t.target().variant {
            KernelVariant::Tiled => {
                let most = KernelClass::most_timed(s.flops() / u64::from(s.batch));
                // If one image takes too long, nothing is measured.
                forms.truncate(if most == 0 { 1 } else { forms.len() });
                tiled::timed_batch(height_in * width_in).min(most).max(1)
            }
            KernelVariant::Subgroup => KernelClass::timed_batch(height_in * width_in),
        };
        // Only the forward form adds it.
        let added = if work == "forward" { self.addend.name() } else { "" };
        let mut inputs = vec![
            Shape::f32([batch, channels_in, height_in, width_in]),
            Shape::f32([channels_out, channels_in, kernel, kernel]),
            Shape::f32([channels_out]),
        ];
        inputs.extend(self.addend.input(ConvSizes { batch, ..s }.result()));
        KernelClass {
            name: format!(
                "conv2d.{work} {kernel}x{kernel} stride {stride}, {channels_in} to {channels_out}, {height_in}x{width_in}{added}"
            ),
            forms,
            inputs,
        }
    }
}

/// The form of kernels for Winograd's algorithm.
const WINOGRAD: &str = "winograd";
/// The direct form of 3x3 convolutions with elements of 64 bits.
const DIRECT: &str = "direct";
/// The form of 1x1 convolutions with elements of 64 bits.
const WIDE: &str = "wide";
/// The direct form of the subgroup variant. It has kernels for 3x3 with both strides, and for 1x1
/// with stride 1.
const SUBGROUP: &str = "subgroup";

/// Second step of the gradient of the weights: the sums of the splits.
fn sum_splits(t: &mut Tape, s: ConvSizes, partial: Partial, [dw, db]: [Tensor; 2], add: bool) {
    let sum = |parts, row, result| LateSum {
        parts,
        sum: RowSum { rows: partial.splits, row, step: 1, from: 0 },
        result,
        add,
    };
    t.sum_rows(&[sum(partial.w, s.weights(), dw), sum(partial.b, s.channels_out, db)], row_sums::record);
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = conv(x, w) + b",
    case: |draw: &mut Choices| {
        let kernel = draw.one_of(&[3, 1]);
        let stride = draw.range(1, 2);
        let padding = match kernel {
            1 => draw.one_of(&[Padding::Same, Padding::None]),
            _ => draw.one_of(&[Padding::Same, Padding::None, Padding::RightBottom]),
        };
        let least = if padding == Padding::Same { 1 } else { kernel };
        let image = [draw.range(1, 5), draw.range(1, 20), draw.range(least, 11), draw.range(least, 11)];
        let addend = draw.one_of(&[Addend::Nothing, Addend::Map, Addend::Channels { first: 2 }]);
        let settings = Conv2d { stride, padding };
        with(addend, settings, case(settings, image, draw.range(1, 20), kernel))
    },
    edge: || {
        // Winograd's algorithm: images of one tile and of parts of a tile, rows of several
        // subgroups, batches that are not a multiple of 8, and channels that are not a multiple of
        // a chunk.
        let same = |image, channels_out| case(Conv2d { stride: 1, padding: Padding::Same }, image, channels_out, 3);
        // 1x1: elements of 4 and 8 pixels, channels that are not a multiple of a chunk.
        let point = |image, channels_out| case(Conv2d { stride: 1, padding: Padding::None }, image, channels_out, 1);
        vec![
            same([3, 17, 9, 14], 20),
            same([9, 16, 4, 4], 24),
            same([1, 33, 7, 7], 18),
            same([2, 70, 8, 8], 16),
            same([2, 16, 3, 40], 17),
            same([8, 48, 1, 2], 33),
            same([1, 96, 5, 9], 16),
            // More groups of 8 images than tiles, rows of three tiles that continue in the next
            // block, and a chunk of 64 channels with a batch of 7.
            same([25, 8, 4, 9], 8),
            same([1, 8, 13, 9], 8),
            same([7, 128, 3, 2], 8),
            point([2, 70, 2, 6], 65),
            point([1, 33, 4, 4], 9),
            point([3, 130, 2, 2], 40),
            point([5, 48, 8, 9], 17),
            // Several chunks of images in a split, odd numbers of channels and of columns, and full
            // chunks of channels.
            point([17, 37, 8, 8], 2),
            point([16, 39, 4, 5], 2),
            point([1, 128, 8, 9], 2),
            point([1, 128, 4, 17], 2),
            point([1, 3, 2, 6], 2),
            // Images of any number of pixels, if the channels are multiples of 8.
            point([2, 16, 7, 7], 8),
            point([3, 8, 5, 5], 24),
            point([2, 40, 7, 7], 72),
            point([5, 72, 3, 3], 16),
            point([2, 16, 5, 7], 8),
            point([3, 8, 6, 7], 16),
            point([2, 8, 3, 6], 24),
            point([64, 8, 5, 9], 8),
            point([2, 64, 6, 9], 8),
            point([3, 8, 5, 11], 16),
            // The tiles for more than 32 channels, with parts of a tile and of a step in each
            // direction.
            tiles(Addend::Map, Conv2d { stride: 1, padding: Padding::Same }, [2, 35, 9, 13], 70, 3),
            tiles(Addend::Channels { first: 3 }, Conv2d { stride: 1, padding: Padding::Same }, [5, 33, 6, 5], 67, 3),
            tiles(Addend::Nothing, Conv2d { stride: 1, padding: Padding::None }, [3, 37, 4, 5], 36, 3),
            tiles(Addend::Map, Conv2d { stride: 2, padding: Padding::RightBottom }, [3, 35, 9, 8], 37, 3),
            tiles(Addend::Nothing, Conv2d { stride: 2, padding: Padding::Same }, [2, 66, 11, 1], 34, 3),
            tiles(Addend::Map, Conv2d { stride: 1, padding: Padding::Same }, [2, 35, 11, 10], 67, 1),
            tiles(Addend::Channels { first: 1 }, Conv2d { stride: 2, padding: Padding::Same }, [7, 65, 3, 5], 35, 1),
        ]
    },
    bench: || {
        let same = |ci, co, side| case(Conv2d { stride: 1, padding: Padding::Same }, [64, ci, side, side], co, 3);
        let point = |ci, co, side| case(Conv2d { stride: 1, padding: Padding::None }, [64, ci, side, side], co, 1);
        let half = |c, side| case(Conv2d { stride: 2, padding: Padding::RightBottom }, [64, c, side, side], c, 3);
        let mut all = vec![same(64, 64, 28)];
        all.extend([1, 32, 64, 96].map(|ci| same(ci, 32, 28)));
        all.push(same(32, 1, 28));
        all.extend([32, 64, 128, 96].map(|ci| same(ci, 64, 14)));
        all.extend([64, 128].map(|ci| same(ci, 64, 7)));
        all.extend([half(32, 28), half(64, 14)]);
        all.extend([point(64, 64, 14), point(64, 64, 7), point(64, 32, 28), point(128, 64, 14), point(128, 64, 7)]);
        all.extend([1, 16, 32, 48].map(|ci| same(ci, 16, 28)));
        all.extend([16, 32, 48, 64].map(|ci| same(ci, 32, 14)));
        all.extend([32, 64].map(|ci| same(ci, 32, 7)));
        all
    },
};

fn case(settings: Conv2d, image: [u32; 4], channels_out: u32, kernel: u32) -> Case {
    let scale = 1.0 / ((image[1] * kernel * kernel) as f32).sqrt();
    let inputs = vec![
        (Shape::f32(image), Fill::Normal(1.0)),
        (Shape::f32([channels_out, image[1], kernel, kernel]), Fill::Normal(scale)),
        (Shape::f32([channels_out]), Fill::Normal(1.0)),
    ];
    Case { op: Rc::new(Convolution { settings, addend: Addend::Nothing }), inputs }
}

/// A case with an addend, and with these channels, size and kernel.
fn tiles(addend: Addend, settings: Conv2d, image: [u32; 4], channels_out: u32, kernel: u32) -> Case {
    with(addend, settings, case(settings, image, channels_out, kernel))
}

/// The case with an addend.
fn with(addend: Addend, settings: Conv2d, case: Case) -> Case {
    let Case { op, mut inputs } = case;
    let result = op.outputs(&inputs.iter().map(|&(shape, _)| shape).collect::<Vec<_>>());
    let result = result.unwrap_or_else(|rule| panic!("{rule}"))[0];
    inputs.extend(addend.input(result).map(|shape| (shape, Fill::Normal(1.0))));
    Case { op: Rc::new(Convolution { settings, addend }), inputs }
}
