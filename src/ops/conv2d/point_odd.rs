//! The 1x1 convolution for small images of any number of pixels, for example 7x7, with elements of
//! 64 bits. The planes of channels start anywhere in an element, so the kernels shift the numbers
//! that they load and store. Otherwise they work like those of [`super::point_wide`].

use super::point_parts::{Chunks, Parts, WORKGROUPS, lane_channels};
use super::sizes::ConvSizes;
use crate::ops::destination::Destination;
use crate::ops::kernels::conv2d_point_odd_wide;
use crate::tape::{Tape, Tensor};

/// Whether these kernels compute a 1x1 convolution with stride 1. Channels must be multiples of 8,
/// so that every image starts with an element, and an image must fit in 8 pixels per lane. The
/// kernels are faster than the others if they use at least half of these pixels.
pub(super) fn fits(t: &Tape, s: ConvSizes) -> bool {
    let lanes = t.target().lanes();
    let pixels = s.height * s.width;
    s.channels_in.is_multiple_of(8)
        && s.channels_out.is_multiple_of(8)
        && windows(pixels) <= lanes
        && 2 * images(pixels, lanes) * pixels >= 8 * lanes
}

/// Convolves `[source, weights]`: the forward computation, and the gradient of x. Rows of weights
/// have the width of [`Chunks`].
pub(super) fn convolve(
    t: &mut Tape,
    s: ConvSizes,
    [source, weights]: [Tensor; 2],
    bias: Option<Tensor>,
    destination: Destination,
) {
    let Destination { tensor: result, add } = destination;
    let pixels = s.height * s.width;
    let Chunks { chunk_lanes, width } = Chunks::new(t, s.channels_in);
    let groups = s.batch.div_ceil(images(pixels, t.target().lanes()));
    // A few images do not make enough workgroups. Then several have the same images. The rows of
    // each start with an element of the result, as those of 8 channels do.
    let most = s.channels_out / 8;
    let rows = 8 * most.div_ceil(WORKGROUPS.div_ceil(groups).min(most));
    let kernel = conv2d_point_odd_wide::Convolve {
        source,
        weights,
        bias: bias.unwrap_or(weights), // some tensor must be bound
        result,
        pixels,
        chunk_lanes,
        batch: s.batch,
        channels_in: s.channels_in,
        channels_out: s.channels_out,
        row: width / 8,
        rows,
        biased: u32::from(bias.is_some()),
        add: u32::from(add),
        splits: 1,
    };
    t.emit_folded(kernel, [groups, s.channels_out.div_ceil(rows)], s.flops());
}

/// Emits the partial sums of the gradients of the weights and the bias.
pub(super) fn partial(t: &mut Tape, s: ConvSizes, [x, dy]: [Tensor; 2]) -> Parts {
    let lanes = t.target().lanes();
    let pixels = s.height * s.width;
    let lane_channels = lane_channels(s.channels_in, lanes);
    // A chunk has two groups of images if a lane has 4 channels.
    let chunks = s.batch.div_ceil(images(pixels, lanes) * (8 / lane_channels));
    let parts = Parts::new(t, s, lane_channels, chunks);
    let kernel = conv2d_point_odd_wide::Partial {
        x,
        dy,
        partial_w: parts.w,
        partial_b: parts.b,
        pixels,
        lane_channels,
        batch: s.batch,
        channels_in: s.channels_in,
        channels_out: s.channels_out,
        row: 0, // these are only for the convolution
        rows: 0,
        biased: 0,
        add: 0,
        splits: parts.splits,
    };
    t.emit_grid(kernel, [parts.blocks, parts.splits, 1], s.flops());
    parts
}

/// Elements that a plane touches at most. A lane has one of them.
fn windows(pixels: u32) -> u32 {
    (pixels + 14) / 8
}

/// Images of a workgroup.
fn images(pixels: u32, lanes: u32) -> u32 {
    lanes / windows(pixels)
}
