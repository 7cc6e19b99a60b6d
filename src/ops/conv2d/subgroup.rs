//! The subgroup variant of the convolution, for software Vulkan drivers: one subgroup per
//! workgroup. Weights are packed first, and broadcast between lanes.

use super::sizes::{ConvSizes, Partial};
use crate::ops::destination::Destination;
use crate::ops::kernels::{
    conv2d_pack, conv2d_point_subgroup, conv2d_stride2_subgroup, conv2d_subgroup, conv2d_weight_subgroup,
};
use crate::ops::rows::row_groups;
use crate::tape::{Shape, Tape, Tensor};

/// Most groups of 4 channels in a tile of the gradient of x with stride 2.
const MOST_GROUPS: u32 = 4;

pub(super) fn forward(t: &mut Tape, s: ConvSizes, x: &[Tensor], y: Tensor) {
    let source = x[0];
    let w = x[1];
    let b = x[2];
    let groups = row_groups(s.channels_out, t.target().lanes());
    let inputs = s.channels_in;
    let outputs = s.channels_out;
    let taps = s.kernel * s.kernel;
    let tile = 4 * groups;
    let (packed, size) = packed(t, outputs, inputs, taps, tile);
    t.emit_flat(conv2d_pack::PackForward { w, b, packed, outputs, inputs, taps, tile }, size, 0);
    convolve(t, s, [source, packed], Destination::store(y), groups);
}

pub(super) fn backward_input(t: &mut Tape, s: ConvSizes, dy: Tensor, w: Tensor, dx: Destination) {
    // With stride 2 a lane has two tiles. A driver compiles large ones for 2 seconds.
    let most = if s.stride == 1 { u32::MAX } else { MOST_GROUPS };
    let groups = row_groups(s.channels_in, t.target().lanes()).min(most);
    let inputs = s.channels_out;
    let outputs = s.channels_in;
    let taps = s.kernel * s.kernel;
    let tile = 4 * groups;
    let (weights, size) = packed(t, outputs, inputs, taps, tile);
    t.emit_flat(conv2d_pack::PackBackward { w, packed: weights, outputs, inputs, taps, tile }, size, 0);
    let depth = outputs.div_ceil(tile);
    if s.stride == 1 {
        let turned = ConvSizes {
            channels_in: s.channels_out,
            height_in: s.height,
            width_in: s.width,
            channels_out: s.channels_in,
            height: s.height_in,
            width: s.width_in,
            pad: s.kernel - 1 - s.pad,
            ..s
        };
        return convolve(t, turned, [dy, weights], dx, groups);
    }
    let lanes = t.target().lanes();
    let stride = conv2d_stride2_subgroup::STRIDE;
    let width = stride * conv2d_stride2_subgroup::PATCH_COLUMNS;
    let patches = s.batch * s.height_in.div_ceil(stride) * s.width_in.div_ceil(width);
    let kernel = conv2d_stride2_subgroup::BackwardInput {
        source: dy,
        weights,
        result: dx.tensor,
        groups,
        add: dx.add,
        batch: s.batch,
        channels_source: s.channels_out,
        channels_result: s.channels_in,
        height_source: s.height,
        width_source: s.width,
        height: s.height_in,
        width: s.width_in,
        pad: s.pad,
    };
    t.emit_folded(kernel, [patches.div_ceil(lanes), stride * depth], s.flops());
}

/// Convolves `[source, packed weights]`: the forward computation, and with stride 1 also the
/// gradient of x.
fn convolve(t: &mut Tape, s: ConvSizes, operands: [Tensor; 2], destination: Destination, groups: u32) {
    let [source, weights] = operands;
    let Destination { tensor: result, add } = destination;
    let lanes = t.target().lanes();
    let depth = s.channels_out.div_ceil(4 * groups);
    let batch = s.batch;
    let channels_source = s.channels_in;
    let channels_result = s.channels_out;
    let height_source = s.height_in;
    let width_source = s.width_in;
    let height = s.height;
    let width = s.width;
    let pad = s.pad;
    if s.kernel == 1 {
        let pixels = height * width;
        let (channels_in, channels_out) = (channels_source, channels_result);
        let kernel = conv2d_point_subgroup::Convolve {
            source,
            weights,
            result,
            groups,
            add,
            batch,
            channels_in,
            channels_out,
            pixels,
            splits: 1,
        };
        let columns = (batch * pixels).div_ceil(conv2d_point_subgroup::LANE_COLUMNS * lanes);
        t.emit_folded(kernel, [columns, depth], s.flops());
    } else if s.stride == 1 {
        let rows = height.div_ceil(conv2d_subgroup::PATCH_ROWS);
        let patches = batch * rows * width.div_ceil(conv2d_subgroup::PATCH_COLUMNS);
        let kernel = conv2d_subgroup::Convolve {
            source,
            weights,
            result,
            groups,
            add,
            batch,
            channels_source,
            channels_result,
            height_source,
            width_source,
            height,
            width,
            pad,
        };
        t.emit_folded(kernel, [patches.div_ceil(lanes), depth], s.flops());
    } else {
        let patches = batch * height * width.div_ceil(conv2d_stride2_subgroup::PATCH_COLUMNS);
        let kernel = conv2d_stride2_subgroup::Forward {
            source,
            weights,
            result,
            groups,
            add,
            batch,
            channels_source,
            channels_result,
            height_source,
            width_source,
            height,
            width,
            pad,
        };
        t.emit_folded(kernel, [patches.div_ceil(lanes), depth], s.flops());
    }
}

pub(super) fn backward_weight(t: &mut Tape, s: ConvSizes, x: Tensor, dy: Tensor) -> Partial {
    let lanes = t.target().lanes();
    let groups = row_groups(s.channels_out, lanes);
    // Sums per lane: more of them run faster and compile more slowly. Few convolutions have a
    // stride.
    let rows = match s.channels_out.div_ceil(lanes) {
        1 => 1,
        _ if s.stride > 1 => 2,
        2..=4 => 2,
        _ => conv2d_weight_subgroup::MAX_ROWS,
    }
    .min(32 / lanes);
    let (across, down) = match s.kernel {
        1 => (s.channels_in.div_ceil(4 * lanes), s.channels_out.div_ceil(4 * groups)),
        _ => (s.channels_in.div_ceil(lanes), s.channels_out.div_ceil(rows * lanes)),
    };
    let splits = 64u32.div_ceil(across * down).clamp(1, s.batch);
    let partial = Partial::new(t, s, splits);
    let (partial_w, partial_b) = (partial.w, partial.b);
    let batch = s.batch;
    let channels_in = s.channels_in;
    let channels_out = s.channels_out;
    let size = [across, down, splits];
    if s.kernel == 1 {
        let pixels = s.height * s.width;
        let kernel = conv2d_point_subgroup::Partial {
            x,
            dy,
            partial_w,
            partial_b,
            groups,
            batch,
            channels_in,
            channels_out,
            pixels,
            splits,
        };
        t.emit_grid(kernel, size, s.flops());
    } else {
        let kernel = conv2d_weight_subgroup::Partial {
            x,
            dy,
            partial_w,
            partial_b,
            stride: s.stride,
            rows,
            batch,
            channels_in,
            channels_out,
            height_in: s.height_in,
            width_in: s.width_in,
            height: s.height,
            width: s.width,
            pad: s.pad,
            splits,
        };
        t.emit_grid(kernel, size, s.flops());
    }
    partial
}
/// A tensor for packed weights and bias, and its number of elements.
fn packed(t: &mut Tape, outputs: u32, inputs: u32, taps: u32, tile: u32) -> (Tensor, u32) {
    let size = outputs.div_ceil(tile) * tile * (1 + inputs * taps);
    (t.transient(Shape::f32([size])), size)
}
