//! The tiled variant of the convolution: tiles in workgroup memory, for GPUs.

use super::addend::Addend;
use super::sizes::{ConvSizes, Partial};
use crate::ops::destination::Destination;
use crate::ops::kernels::{conv2d, conv2d_weight};
use crate::tape::{Tape, Tensor};

/// Rows of a workgroup's tile, which are channels of the result. Many channels get the larger tile.
fn tile_rows(channels: u32) -> u32 {
    if channels > 32 { 64 } else { 32 }
}

pub(super) fn forward(
    t: &mut Tape,
    s: ConvSizes,
    x: &[Tensor],
    (addend, given): (Addend, Option<Tensor>),
    result: Tensor,
) {
    let source = x[0];
    let w = x[1];
    let b = x[2];
    let tile_m = tile_rows(s.channels_out);
    let tile_n = conv2d::TILE_ELEMENTS / tile_m;
    let groups = [(s.batch * s.height * s.width).div_ceil(tile_n), s.channels_out.div_ceil(tile_m)];
    let addend_kind = match addend {
        Addend::Nothing => conv2d::NOTHING,
        Addend::Map => conv2d::MAP,
        Addend::Channels { .. } => conv2d::CHANNELS,
    };
    let addend_first = if let Addend::Channels { first } = addend { first } else { 0 };
    let addend_width = given.map_or(0, |given| t.shape(given).dims()[1]);
    let kernel = conv2d::Forward {
        source,
        w,
        b,
        addend: given.unwrap_or(b), // some tensor must be bound
        result,
        add: false,
        addend_kind,
        tile_m,
        batch: s.batch,
        channels_source: s.channels_in,
        height_source: s.height_in,
        width_source: s.width_in,
        channels_result: s.channels_out,
        height_result: s.height,
        width_result: s.width,
        kernel: s.kernel,
        stride: s.stride,
        pad: s.pad,
        addend_width,
        addend_first,
    };
    t.emit_folded(kernel, groups, s.flops());
}

pub(super) fn backward_input(t: &mut Tape, s: ConvSizes, dy: Tensor, w: Tensor, dx: Destination) {
    let tile_m = tile_rows(s.channels_in);
    let tile_n = conv2d::TILE_ELEMENTS / tile_m;
    let pixels = s.batch * s.height_in.div_ceil(s.stride) * s.width_in.div_ceil(s.stride);
    let groups = [pixels.div_ceil(tile_n), s.channels_in.div_ceil(tile_m) * s.stride * s.stride];
    let kernel = conv2d::BackwardInput {
        source: dy,
        w,
        result: dx.tensor,
        add: dx.add,
        tile_m,
        batch: s.batch,
        channels_source: s.channels_out,
        height_source: s.height,
        width_source: s.width,
        channels_result: s.channels_in,
        height_result: s.height_in,
        width_result: s.width_in,
        kernel: s.kernel,
        stride: s.stride,
        pad: s.pad,
        addend_width: 0,
        addend_first: 0,
    };
    t.emit_folded(kernel, groups, s.flops());
}

pub(super) fn backward_weight(t: &mut Tape, s: ConvSizes, x: Tensor, dy: Tensor) -> Partial {
    let tile_m = tile_rows(s.channels_out);
    let tile_n = conv2d_weight::TILE_ELEMENTS / tile_m;
    let columns = (s.weights() / s.channels_out + 1).div_ceil(tile_n);
    let rows = s.channels_out.div_ceil(tile_m);
    // Enough workgroups to fill a large device, and at least 256 pixels for each.
    let pixels = s.batch * s.height * s.width;
    let wanted = (512 / (columns * rows)).clamp(1, pixels.div_ceil(256));
    let chunk = pixels.div_ceil(wanted).next_multiple_of(conv2d_weight::TILE_K);
    let splits = pixels.div_ceil(chunk);
    let partial = Partial::new(t, s, splits);
    let kernel = conv2d_weight::Partial {
        x,
        dy,
        partial_w: partial.w,
        partial_b: partial.b,
        tile_m,
        batch: s.batch,
        channels_in: s.channels_in,
        height_in: s.height_in,
        width_in: s.width_in,
        channels_out: s.channels_out,
        height: s.height,
        width: s.width,
        kernel: s.kernel,
        stride: s.stride,
        pad: s.pad,
        chunk,
    };
    t.emit_grid(kernel, [columns, rows, splits], s.flops());
    partial
}
