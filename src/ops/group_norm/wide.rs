//! Group normalization with elements of 64 bits, for software Vulkan drivers: the kernels read x
//! and dy once.

use crate::ops::kernels::group_norm_wide::{Backward, Forward};
use crate::ops::rows::batch_channels_area;
use crate::tape::{Tape, Tensor};

/// Numbers in an element of the kernels.
const ELEMENT: u32 = 8;
/// Elements that a lane keeps at most. With twice as many the kernels are 10 to 15 percent faster,
/// but compile in 1.7 times the time, and a training step is not faster.
const MAX_SLOTS: u32 = 8;
/// Lanes of a workgroup, at most. WebGPU guarantees 256.
const MAX_LANES: u32 = 256;
/// Elements of a group, at most: what the lanes keep of larger groups does not stay in a cache.
const MAX_GROUP: u32 = 1536;

/// A group normalization, and how the kernels divide a group.
#[derive(Clone, Copy)]
pub(super) struct WideNorm {
    /// Whether SiLU follows.
    silu: bool,
    /// Groups of all images.
    blocks: u32,
    /// Groups of an image.
    groups: u32,
    /// Channels of a row.
    row_channels: u32,
    /// Elements of a row.
    cells: u32,
    /// Half elements of a channel.
    channel_cells: u32,
    /// Lanes that share a row.
    span: u32,
    /// Elements that a lane keeps.
    slots: u32,
    /// Lanes of a workgroup.
    lanes: u32,
    /// Numbers of x.
    numbers: u64,
}

impl WideNorm {
    /// The division of `x` `[B, C, ...]` in `groups`, if the target runs wide kernels and has at
    /// most 8 lanes. (With 16 they are slower.) The HW numbers of a channel are a multiple of 8, or
    /// an odd multiple of 4 if a group has an even number of channels. A row of 8 elements or fewer
    /// would leave most slots empty. The batch has no influence.
    pub(super) fn new(t: &Tape, x: Tensor, groups: u32, silu: bool) -> Option<WideNorm> {
        let [batch, channels, hw] = batch_channels_area(t.shape(x));
        let d = channels / groups;
        let row_channels = if hw.is_multiple_of(ELEMENT) { 1 } else { 2 };
        let cells = row_channels * hw / ELEMENT;
        let rows = d / row_channels;
        let divides = hw.is_multiple_of(4) && d.is_multiple_of(row_channels);
        let lanes = t.target().lanes();
        if !t.target().is_wide() || lanes > 8 || !divides || cells <= ELEMENT || rows * cells > MAX_GROUP {
            return None;
        }
        let span = lanes * cells.div_ceil(lanes * MAX_SLOTS).next_power_of_two();
        let lanes = rows * span;
        (lanes <= MAX_LANES).then_some(WideNorm {
            silu,
            blocks: batch * groups,
            groups,
            row_channels,
            cells,
            channel_cells: hw / 4,
            span,
            slots: cells.div_ceil(span),
            lanes,
            numbers: t.shape(x).len() as u64,
        })
    }
}

/// Writes y and stats `[B, groups, 2]`, as `group_norm.wgsl` does.
pub(super) fn forward(t: &mut Tape, n: WideNorm, eps: f32, [x, w, b]: [Tensor; 3], [y, stats]: [Tensor; 2]) {
    let WideNorm { silu, blocks, groups: norm_groups, row_channels, cells, channel_cells, span, slots, lanes, .. } = n;
    let kernel = Forward {
        x,
        w,
        b,
        y,
        stats,
        eps,
        silu,
        slots,
        span,
        lanes,
        blocks,
        norm_groups,
        cells,
        row_channels,
        channel_cells,
    };
    t.emit(kernel, blocks, 11 * n.numbers);
}

/// The tensors from which the gradient of x is computed, and the sums for those of w and b.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub x: Tensor,
    pub w: Tensor,
    pub b: Tensor,
    pub saved: Tensor,
    pub dy: Tensor,
    /// `[B, C, 2]`, written.
    pub sums: Tensor,
}

/// Writes the gradient of x or adds to it, and writes the sums.
pub(super) fn backward(t: &mut Tape, n: WideNorm, o: Operands, dx: Tensor, add: bool) {
    let Operands { x, w, b, saved, dy, sums } = o;
    let WideNorm { silu, blocks, groups: norm_groups, row_channels, cells, channel_cells, span, slots, lanes, .. } = n;
    let kernel = Backward {
        x,
        w,
        b,
        saved,
        dy,
        dx,
        sums,
        silu,
        slots,
        span,
        lanes,
        add,
        blocks,
        norm_groups,
        cells,
        row_channels,
        channel_cells,
    };
    t.emit(kernel, blocks, 21 * n.numbers);
}
