//! 3x3 convolutions with stride 1 by Winograd's algorithm F(4x4, 3x3), for software Vulkan drivers with
//! 64-bit integers in shaders: forward and the gradient of x.
//!
//! A few blocks of tiles are transformed, multiplied and transformed back at a time, always in the
//! same small tensors, which stay in the processor's cache.

use super::sizes::ConvSizes;
use crate::ops::destination::Destination;
use crate::ops::kernels::{
    conv2d_winograd_input_wide, conv2d_winograd_output_wide, conv2d_winograd_product_wide, conv2d_winograd_weights_wide,
};
use crate::tape::{Shape, Tape, Tensor};

/// Points of the transform in both directions.
pub(super) const POINTS: u32 = 36;
/// Images of a lane.
pub(super) const IMAGES: u32 = 8;
/// Pixels of a tile in each direction.
pub(super) const SIDE: u32 = 4;
/// Bytes of the transformed values at a time. Two processors with 2 MB of cache each took 13 %
/// longer with half as many, because there are more calls, and 9 % longer with twice as many.
const CHUNK_BYTES: u32 = 5_000_000;
/// Most chunks of a convolution: each is three calls.
const MOST_CHUNKS: u32 = 32;
/// Lanes of a subgroup: the weights of a row in the product fill 8 lanes.
const LANES: u32 = 8;
/// Most channels of the source that the product takes at once.
const MOST_CHANNELS: u32 = 64;
/// Channels for [`pays`]: forward and for the gradient of x.
pub(super) const INPUT_CHANNELS: u64 = 8;
/// The same for the gradient of the weights, where both sides are transformed.
pub(super) const WEIGHT_CHANNELS: u64 = 12;
/// Fewest channels on either side. With fewer the transforms take longer than the direct form.
const FEWEST_CHANNELS: u32 = 8;

/// Whether the kernels compute a convolution: 3x3 with stride 1 and a border of zeros, on 8 lanes,
/// with 8 channels or more on both sides, and with any size of the images and of the batch.
pub(super) fn fits(t: &Tape, s: ConvSizes) -> bool {
    t.target().is_wide()
        && t.target().lanes() == LANES
        && s.is_3x3_of_same_size()
        && s.channels_in.min(s.channels_out) >= FEWEST_CHANNELS
}

/// Whether they are expected to be faster than the direct form: the transforms cost as much for a
/// channel as `channels` channels of the other side save, also for the pixels of a tile that are
/// outside of the image. The batch does not matter: an image gets the same bits in every batch.
pub(super) fn pays(s: ConvSizes, channels: u64) -> bool {
    let pixels = s.height * s.width;
    let computed = s.height.next_multiple_of(SIDE) * s.width.next_multiple_of(SIDE);
    let (k, m) = (u64::from(s.channels_in), u64::from(s.channels_out));
    2 * pixels >= computed && u64::from(pixels) * k * m > channels * (k + m) * u64::from(computed)
}

/// Parts of the tiles of a batch.
pub(super) struct Blocks {
    /// Blocks of tiles.
    pub count: u32,
    /// Blocks of a chunk; the last one may be smaller.
    pub chunk: u32,
    /// Transformed values of a channel in a block.
    pub size: u32,
}

impl Blocks {
    /// The blocks of a convolution, given the number of channels that are transformed.
    pub fn new(t: &Tape, s: ConvSizes, channels: u32) -> Blocks {
        let lanes = t.target().lanes();
        let tiles = s.height.div_ceil(SIDE) * s.width.div_ceil(SIDE);
        let count = (tiles * s.batch.div_ceil(IMAGES)).div_ceil(lanes);
        let size = POINTS * IMAGES * lanes;
        let fewest = count.div_ceil(MOST_CHUNKS);
        let most = (CHUNK_BYTES / (4 * size * channels)).clamp(fewest, count);
        // Chunks of nearly the same size.
        Blocks { count, chunk: count.div_ceil(count.div_ceil(most)), size }
    }

    /// First block and number of blocks of each chunk.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, u32)> {
        let Blocks { count, chunk, .. } = *self;
        (0..count).step_by(chunk as usize).map(move |first| (first, chunk.min(count - first)))
    }
}

pub(super) fn forward(t: &mut Tape, s: ConvSizes, x: &[Tensor], y: Tensor) {
    let weights = Weights::new(t, s.channels_out, s.channels_in);
    let Weights { u, rows, chunk, .. } = weights;
    let kernel = conv2d_winograd_weights_wide::TransformForward {
        w: x[1],
        b: x[2],
        u,
        outputs: s.channels_out,
        inputs: s.channels_in,
        rows,
        chunk,
    };
    t.emit_flat(kernel, weights.invocations(), weights.flops());
    convolve(t, s, x[0], &weights, Destination::store(y));
}

pub(super) fn backward_input(t: &mut Tape, s: ConvSizes, dy: Tensor, w: Tensor, dx: Destination) {
    let weights = Weights::new(t, s.channels_in, s.channels_out);
    let Weights { u, rows, chunk, .. } = weights;
    let kernel = conv2d_winograd_weights_wide::TransformBackward {
        w,
        u,
        outputs: s.channels_in,
        inputs: s.channels_out,
        rows,
        chunk,
    };
    t.emit_flat(kernel, weights.invocations(), weights.flops());
    let turned = ConvSizes { channels_in: s.channels_out, channels_out: s.channels_in, ..s };
    convolve(t, turned, dy, &weights, dx);
}

/// Transformed weights.
struct Weights {
    u: Tensor,
    /// Channels of the result, rounded up.
    rows: u32,
    /// Channels of the source that the product takes at once.
    chunk: u32,
    /// Index of the bias in `u`.
    bias: u32,
}

impl Weights {
    fn new(t: &mut Tape, outputs: u32, inputs: u32) -> Weights {
        let chunk = inputs.div_ceil(inputs.div_ceil(MOST_CHANNELS)).next_multiple_of(16);
        let rows = outputs.next_multiple_of(MOST_CHANNELS / chunk);
        let bias = POINTS * inputs.div_ceil(chunk) * rows * chunk;
        let u = t.transient(Shape::f32([bias + rows.next_multiple_of(8)]));
        Weights { u, rows, chunk, bias }
    }

    fn invocations(&self) -> u32 {
        self.bias / POINTS / 8 + self.rows.div_ceil(8)
    }

    fn flops(&self) -> u64 {
        117 * u64::from(self.bias / POINTS)
    }
}

fn convolve(t: &mut Tape, s: ConvSizes, source: Tensor, weights: &Weights, destination: Destination) {
    let Weights { u, rows, chunk, bias } = *weights;
    let blocks = Blocks::new(t, s, s.channels_in + rows);
    let v = t.transient(Shape::f32([blocks.chunk, blocks.size, s.channels_in]));
    let m = t.transient(Shape::f32([blocks.chunk, blocks.size, rows]));
    for (first, count) in blocks.chunks() {
        transform(t, s, source, v, (first, count));
        t.moves(source, share(t.shape(source), count, blocks.count));
        let kernel = conv2d_winograd_product_wide::Product { v, u, m, chunk, channels: s.channels_in, rows };
        let flops = s.flops() * u64::from(count) / u64::from(blocks.count);
        t.emit_grid(kernel, [POINTS, count, 1], flops);
        output(t, s, Sums { m, u, rows, bias }, destination, (first, count));
        // Without `add` the result is not read.
        let moved = share(t.shape(destination.tensor), count, blocks.count);
        t.moves(destination.tensor, if destination.add { moved } else { moved / 2 });
    }
}

/// Bytes of `count` blocks of a tensor that has `of` blocks.
pub(super) fn share(shape: Shape, count: u32, of: u32) -> u64 {
    shape.bytes() * u64::from(count) / u64::from(of)
}

/// Pixels of an element: the largest of 4, 2 and 1 that divides the width.
pub(super) fn pixels_of_element(width: u32) -> u32 {
    [4, 2].into_iter().find(|&pixels| width.is_multiple_of(pixels)).unwrap_or(1)
}

/// Transforms `count` blocks of the source from block `first` on.
pub(super) fn transform(t: &mut Tape, s: ConvSizes, source: Tensor, v: Tensor, (first, count): (u32, u32)) {
    let ConvSizes { batch, channels_in: channels, height, width, .. } = s;
    let pixels = pixels_of_element(width);
    let edges = !LANES.is_multiple_of(width.div_ceil(SIDE));
    let grid = [channels, count, 1];
    macro_rules! emit {
        ($kernel:ident, $v:ident) => {
            t.emit_grid(
                conv2d_winograd_input_wide::$kernel {
                    source_4: source,
                    source_2: source,
                    source_1: source,
                    $v: v,
                    pixels,
                    edges,
                    batch,
                    channels,
                    height,
                    width,
                    first,
                },
                grid,
                0,
            )
        };
    }
    // Four times as many loads as with 4 pixels, so the code in two passes compiles faster.
    if pixels == 1 { emit!(TransformHalves, v_halves) } else { emit!(Transform, v) }
}

/// What the product computed, and where the bias is.
#[derive(Clone, Copy)]
struct Sums {
    m: Tensor,
    u: Tensor,
    rows: u32,
    bias: u32,
}

fn output(t: &mut Tape, s: ConvSizes, sums: Sums, to: Destination, (first, count): (u32, u32)) {
    let Sums { m, u, rows, bias } = sums;
    let Destination { tensor: result, add } = to;
    let ConvSizes { batch, channels_out: channels, height, width, .. } = s;
    let grid = [channels, count, 1];
    macro_rules! emit {
        ($kernel:ident, $m:ident, $result:ident) => {
            t.emit_grid(
                conv2d_winograd_output_wide::$kernel {
                    $m: m,
                    u,
                    $result: result,
                    batch,
                    channels,
                    rows,
                    height,
                    width,
                    first,
                    bias,
                    add: u32::from(add),
                },
                grid,
                0,
            )
        };
    }
    match pixels_of_element(width) {
        4 => emit!(Output4, m, result_4),
        2 => emit!(Output2, m, result_2),
        _ => emit!(Output1, m_halves, result_1),
    }
}
