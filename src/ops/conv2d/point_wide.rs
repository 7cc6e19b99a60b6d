//! The 1x1 convolution for images whose number of pixels is a multiple of 4, with elements of 64
//! bits, for software Vulkan drivers: one subgroup per workgroup, which keeps a chunk of its pixels
//! and multiplies it with one row of weights after the other. [`point_odd`] has the kernels for
//! small images of other sizes.

use super::point_odd;
use super::point_parts::{CHUNK_LANES, Chunks, Parts, WORKGROUPS, lane_channels};
use super::sizes::ConvSizes;
use crate::ops::destination::Destination;
use crate::ops::kernels::{conv2d_point_pack_wide, conv2d_point_weight_wide, conv2d_point_wide};
use crate::tape::{Shape, Tape, Tensor};

/// Whether these kernels compute the convolution: a 1x1 kernel with stride 1, for any batch and any
/// channels, if the number of pixels is a multiple of 4. [`point_odd::fits`] adds other sizes.
pub(super) fn fits(t: &Tape, s: ConvSizes) -> bool {
    t.target().is_wide() && s.kernel == 1 && s.stride == 1 && (is_aligned(s) || point_odd::fits(t, s))
}

/// Whether the planes of channels start with an element.
fn is_aligned(s: ConvSizes) -> bool {
    (s.height * s.width).is_multiple_of(4)
}

pub(super) fn forward(t: &mut Tape, s: ConvSizes, x: &[Tensor], y: Tensor) {
    let width = Chunks::new(t, s.channels_in).width;
    let weights = if width == s.channels_in {
        x[1]
    } else {
        pack(t, x[1], [s.channels_out, s.channels_in, width], [s.channels_in, 1])
    };
    convolve(t, s, [x[0], weights], Some(x[2]), Destination::store(y));
}

pub(super) fn backward_input(t: &mut Tape, s: ConvSizes, dy: Tensor, w: Tensor, dx: Destination) {
    let width = Chunks::new(t, s.channels_out).width;
    let weights = pack(t, w, [s.channels_in, s.channels_out, width], [1, s.channels_in]);
    let turned = ConvSizes { channels_in: s.channels_out, channels_out: s.channels_in, ..s };
    convolve(t, turned, [dy, weights], None, dx);
}

/// Emits the gradients of the weights and the bias. The kernels have their own sum of splits,
/// because the partial sums have another order than those of other kernels.
pub(super) fn backward_weight(t: &mut Tape, s: ConvSizes, [x, dy]: [Tensor; 2], [dw, db]: [Tensor; 2], add: bool) {
    if !is_aligned(s) {
        let parts = point_odd::partial(t, s, [x, dy]);
        return sum(t, s, parts, [dw, db], add);
    }
    let lanes = t.target().lanes();
    let chunk_lanes = CHUNK_LANES.min(lanes);
    let lane_channels = lane_channels(s.channels_in, lanes);
    let Pixels { element, columns, area } = Pixels::new(s);
    // For each lane of the chunk, a lane keeps 8 pixels of 8 channels, or 16 pixels of 4.
    let lane_pixels = 64 / lane_channels;
    let chunks = columns.div_ceil(chunk_lanes * lane_pixels / element);
    let parts = Parts::new(t, s, lane_channels, chunks);
    let Parts { splits, w: partial_w, b: partial_b, .. } = parts;
    let channels_in = s.channels_in;
    let channels_out = s.channels_out;
    let grid = [parts.blocks, splits, 1];
    if element == 8 {
        let kernel = conv2d_point_weight_wide::Partial8 {
            x,
            dy,
            partial_w,
            partial_b,
            lane_channels,
            chunk_lanes,
            columns,
            area,
            channels_in,
            channels_out,
            splits,
        };
        t.emit_grid(kernel, grid, s.flops());
    } else {
        let kernel = conv2d_point_weight_wide::Partial4 {
            x4: x,
            dy4: dy,
            partial_w,
            partial_b,
            lane_channels,
            chunk_lanes,
            columns,
            area,
            channels_in,
            channels_out,
            splits,
        };
        t.emit_grid(kernel, grid, s.flops());
    }
    sum(t, s, parts, [dw, db], add);
}

/// Second step of the gradients: the sums of the splits.
fn sum(t: &mut Tape, s: ConvSizes, parts: Parts, [dw, db]: [Tensor; 2], add: bool) {
    let Parts { lane_channels, blocks, splits, w, b } = parts;
    let kernel = conv2d_point_weight_wide::Sum {
        sums_w: w,
        sums_b: b,
        dw,
        db,
        lane_channels,
        add,
        columns: 0, // not used
        area: 0,
        channels_in: s.channels_in,
        channels_out: s.channels_out,
        splits,
    };
    let invocations = blocks * s.channels_out * t.target().lanes() + s.channels_out;
    t.emit_flat(kernel, invocations, u64::from(splits) * u64::from(s.weights() + s.channels_out));
}

/// Convolves `[source, weights]`: the forward computation, and the gradient of x.
fn convolve(
    t: &mut Tape,
    s: ConvSizes,
    [source, weights]: [Tensor; 2],
    bias: Option<Tensor>,
    destination: Destination,
) {
    if !is_aligned(s) {
        return point_odd::convolve(t, s, [source, weights], bias, destination);
    }
    let Destination { tensor: result, add } = destination;
    let lanes = t.target().lanes();
    let Chunks { chunk_lanes, width } = Chunks::new(t, s.channels_in);
    let Pixels { element, columns, area } = Pixels::new(s);
    let groups = columns.div_ceil(lanes * 8 / element);
    // A few pixels do not make enough workgroups. Then several have the same pixels.
    let parts = WORKGROUPS.div_ceil(groups).min(s.channels_out.div_ceil(8));
    let rows = s.channels_out.div_ceil(parts);
    let grid = [groups, s.channels_out.div_ceil(rows)];
    let channels_in = s.channels_in;
    let channels_out = s.channels_out;
    let row = width / 8;
    let biased = u32::from(bias.is_some());
    let bias = bias.unwrap_or(weights); // some tensor must be bound
    if element == 8 {
        let kernel = conv2d_point_wide::Convolve8 {
            source,
            weights,
            bias,
            result,
            chunk_lanes,
            columns,
            area,
            channels_in,
            channels_out,
            row,
            rows,
            biased,
            add: u32::from(add),
        };
        t.emit_folded(kernel, grid, s.flops());
    } else {
        let kernel = conv2d_point_wide::Convolve4 {
            source4: source,
            weights,
            bias,
            result4: result,
            chunk_lanes,
            columns,
            area,
            channels_in,
            channels_out,
            row,
            rows,
            biased,
            add: u32::from(add),
        };
        t.emit_folded(kernel, grid, s.flops());
    }
}

/// A copy of weights, in rows of `width`.
fn pack(t: &mut Tape, w: Tensor, [outputs, inputs, width]: [u32; 3], strides: [u32; 2]) -> Tensor {
    let [output_stride, input_stride] = strides;
    let packed = t.transient(Shape::f32([outputs, width]));
    let kernel = conv2d_point_pack_wide::PackWeights { w, packed, outputs, inputs, width, output_stride, input_stride };
    t.emit_flat(kernel, outputs * width, 0);
    packed
}

/// How pixels are divided into elements of buffers.
struct Pixels {
    /// Pixels of an element.
    element: u32,
    /// Elements of a plane, times batch.
    columns: u32,
    /// Elements of a plane.
    area: u32,
}

impl Pixels {
    fn new(s: ConvSizes) -> Pixels {
        let pixels = s.height * s.width;
        let element = if pixels.is_multiple_of(8) { 8 } else { 4 };
        let area = pixels / element;
        Pixels { element, columns: s.batch * area, area }
    }
}
