//! The 3x3 convolution with stride 1, computed directly, with elements of 64 bits, for software
//! Vulkan drivers: one subgroup per workgroup, which keeps its pixels of 16 channels while the
//! channels of the result stream by.

use super::sizes::ConvSizes;
use crate::ops::destination::Destination;
use crate::ops::kernels::conv2d_direct_pack_wide::{self, PackWeights};
use crate::ops::kernels::conv2d_direct_wide::{self, Convolve};
use crate::tape::{Shape, Tape, Tensor};

/// Lanes of a subgroup: the weights of a row fill 8 lanes.
const LANES: u32 = conv2d_direct_pack_wide::LANES;

/// Whether the kernels compute a convolution, with any number of channels and of images: 3x3 with
/// stride 1 and a border of zeros, rows of a multiple of 4 pixels, on 8 lanes.
pub(super) fn fits(t: &Tape, s: ConvSizes) -> bool {
    t.target().is_wide()
        && t.target().lanes() == LANES
        && s.is_3x3_of_same_size()
        && s.width.is_multiple_of(conv2d_direct_wide::PATCH_COLUMNS)
}

/// Whether they are expected to be faster than the other direct form for a source of `inputs`
/// channels: they compute 16 at a time, in about 0.6 of the time of the other form.
pub(super) fn pays(inputs: u32) -> bool {
    4 * inputs >= 3 * inputs.next_multiple_of(conv2d_direct_wide::CHANNELS)
}

pub(super) fn forward(t: &mut Tape, s: ConvSizes, x: &[Tensor], y: Tensor) {
    let (w, b) = (x[1], x[2]);
    let weights = pack(t, w, [s.channels_out, s.channels_in], false);
    convolve(t, s, [x[0], weights, b], true, Destination::store(y));
}

pub(super) fn backward_input(t: &mut Tape, s: ConvSizes, dy: Tensor, w: Tensor, dx: Destination) {
    let weights = pack(t, w, [s.channels_in, s.channels_out], true);
    let turned = ConvSizes { channels_in: s.channels_out, channels_out: s.channels_in, ..s };
    // Some tensor must be bound for the bias.
    convolve(t, turned, [dy, weights, weights], false, dx);
}

/// A copy of the weights `[outputs, inputs, 3, 3]`; for the gradient of x, where they are `[inputs,
/// outputs, 3, 3]`, a rotated copy.
fn pack(t: &mut Tape, w: Tensor, [outputs, inputs]: [u32; 2], rotated: bool) -> Tensor {
    let chunks = inputs.div_ceil(conv2d_direct_wide::CHANNELS);
    let packed = t.transient(Shape::f32([outputs, chunks, LANES, conv2d_direct_pack_wide::ENTRY]));
    let [output_stride, input_stride] = if rotated { [9, 9 * outputs] } else { [9 * inputs, 9] };
    let rotated = u32::from(rotated);
    let kernel = PackWeights { w, packed, outputs, inputs, chunks, output_stride, input_stride, rotated };
    t.emit_flat(kernel, t.shape(packed).len() as u32, 0);
    packed
}

fn convolve(t: &mut Tape, s: ConvSizes, operands: [Tensor; 3], biased: bool, destination: Destination) {
    let [source, weights, bias] = operands;
    let ConvSizes { batch, channels_in, channels_out, height, width, .. } = s;
    let lines = height.div_ceil(conv2d_direct_wide::PATCH_ROWS);
    let patches = batch * lines * (width / conv2d_direct_wide::PATCH_COLUMNS);
    let kernel = Convolve {
        source,
        pairs: source,
        weights,
        bias,
        result: destination.tensor,
        batch,
        channels_in,
        channels_out,
        height,
        width,
        chunks: channels_in.div_ceil(conv2d_direct_wide::CHANNELS),
        biased: u32::from(biased),
        add: u32::from(destination.add),
    };
    t.emit_folded(kernel, [patches.div_ceil(LANES), 1], s.flops());
    // It is bound twice, and read once.
    t.moves(source, t.shape(source).bytes() / 2);
}
