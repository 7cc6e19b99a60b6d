//! Gradients of the weights and bias of a 3x3 convolution with stride 1 in the Winograd domain
//! F(4x4, 3x3). For software Vulkan drivers with 64-bit integers in shaders.
//!
//! x and dy are transformed for a few blocks of tiles at a time, into the same small tensors, which
//! stay in the caches.

use super::sizes::ConvSizes;
use super::winograd::{Blocks, POINTS, pixels_of_element, share, transform};
use crate::ops::kernels::{conv2d_winograd_gradient_wide, conv2d_winograd_weight_wide};
use crate::ops::row_sums;
use crate::tape::{LateSum, RowSum, Shape, Tape, Tensor};

/// The gradients of w and b: `dw` and `db`.
pub(super) fn backward_weight(t: &mut Tape, s: ConvSizes, [x, dy]: [Tensor; 2], [dw, db]: [Tensor; 2], add: bool) {
    let lanes = t.target().lanes();
    let blocks = Blocks::new(t, s, s.channels_in + s.channels_out);

    // One side stays in a lane, and the rows of the other stream by. Loading a tile costs about as
    // much as five pairs of rows.
    let (inputs, outputs) = (s.channels_in, s.channels_out);
    let tile = conv2d_winograd_weight_wide::CHANNELS * lanes;
    let cost = |stay: u32, rows: u32| stay.div_ceil(tile) * (rows.div_ceil(2) + 5);
    let turned = cost(outputs, inputs) < cost(inputs, outputs);
    let (count_rows, count_stay) = if turned { (inputs, outputs) } else { (outputs, inputs) };
    let (row, channel) = if turned { (9, 9 * inputs) } else { (9 * inputs, 9) };
    let stay_tiles = count_stay.div_ceil(tile);
    let pairs = count_rows.div_ceil(2);

    let v = t.transient(Shape::f32([blocks.chunk, blocks.size, inputs]));
    let d = t.transient(Shape::f32([blocks.chunk, blocks.size, outputs]));
    let acc = t.transient(Shape::f32([POINTS, stay_tiles, pairs, 2 * tile]));
    let [partial] = t.rows_to_sum([Shape::f32([blocks.count, outputs])]);
    for (first, count) in blocks.chunks() {
        transform(t, s, x, v, (first, count));
        t.moves(x, share(t.shape(x), count, blocks.count));
        spread(t, s, dy, [d, partial], (first, count));
        t.moves(dy, share(t.shape(dy), count, blocks.count));
        let (rows, stay) = if turned { (v, d) } else { (d, v) };
        let fresh = u32::from(first == 0);
        let kernel = conv2d_winograd_weight_wide::Product {
            rows,
            stay,
            acc,
            blocks: count,
            count_rows,
            count_stay,
            fresh,
            row,
            channel,
        };
        let flops = s.flops() * u64::from(count) / u64::from(blocks.count);
        t.emit_grid(kernel, [POINTS, stay_tiles, 1], flops);
    }
    let kernel = conv2d_winograd_weight_wide::Weights {
        sums: acc,
        dw,
        add,
        blocks: blocks.count,
        count_rows,
        count_stay,
        fresh: 0,
        row,
        channel,
    };
    let size = pairs * count_stay;
    t.emit_flat(kernel, size, 0);
    let sum = RowSum { rows: blocks.count, row: outputs, step: 1, from: 0 };
    t.sum_rows(&[LateSum { parts: partial, sum, result: db, add }], row_sums::record);
}

/// Transforms `count` blocks of dy from block `first` on.
fn spread(t: &mut Tape, s: ConvSizes, dy: Tensor, [d, partial]: [Tensor; 2], (first, count): (u32, u32)) {
    let kernel = conv2d_winograd_gradient_wide::Spread {
        dy4: dy,
        dy2: dy,
        dy1: dy,
        d,
        partial,
        word: pixels_of_element(s.width),
        batch: s.batch,
        channels: s.channels_out,
        height: s.height,
        width: s.width,
        first,
    };
    t.emit_grid(kernel, [s.channels_out, count, 1], 0);
}
