//! Attention with tiles in workgroup memory, for GPUs.

use super::wide::Operands;
use crate::ops::kernels::attention::{self, BackwardKeyValue, BackwardQuery, Forward};
use crate::tape::{Shape, Tape, Tensor};
use std::f64::consts::LOG2_E;

/// Lanes of a workgroup, at most.
const LANES: u32 = 64;
/// Channels of a lane in the backward kernels, which keep more numbers of each.
const BACKWARD_CHANNELS: u32 = 8;
/// Pairs that a head takes at least. Otherwise a workgroup would stage tiles of too many heads.
const MIN_SPACING: u32 = 8;
/// Workgroup memory for the tiles, in bytes, if more than the smallest tile fits. With twice as
/// much, fewer workgroups would run on a processor at once.
const TILES: u32 = 6_144;

/// Sizes from which constants and grids of the kernels follow. `attention.wgsl` says what pairs,
/// parts, slots and cells are.
#[derive(Clone, Copy)]
pub(super) struct TiledSizes {
    tokens: u32,
    /// Heads of an image.
    heads: u32,
    all_heads: u32,
    width: u32,
    parts: u32,
    group: u32,
    spacing: u32,
    slots: u32,
    cells: u32,
}

impl TiledSizes {
    /// Sizes of the forward kernel for a result of the shape of `y`.
    pub(super) fn forward(t: &Tape, y: Tensor, width: u32) -> TiledSizes {
        TiledSizes::new(t, y, width, attention::MAX_CHANNELS)
    }

    /// Sizes of the backward kernels for a result of the shape of `y`.
    pub(super) fn backward(t: &Tape, y: Tensor, width: u32) -> TiledSizes {
        TiledSizes::new(t, y, width, BACKWARD_CHANNELS)
    }

    fn new(t: &Tape, y: Tensor, width: u32, most_channels: u32) -> TiledSizes {
        let [batch, channels, tokens] = t.shape(y).as_array();
        let heads = channels / width;
        let parts = width.div_ceil(most_channels);
        let group = LANES / parts;
        let pairs = tokens.div_ceil(2);
        // The parts of a wide head need more memory, so its workgroups have one head each.
        let spacing = if parts > 1 { pairs.next_multiple_of(group) } else { pairs.max(MIN_SPACING) };
        let slots = match (spacing % group, group % spacing) {
            (0, _) => 1,
            (_, 0) => group / spacing,
            _ => (group + spacing - 2) / spacing + 1,
        };
        let row = 2 * slots * parts * width.div_ceil(parts);
        let fits = |&cells: &u32| 16 * row * cells <= TILES && cells <= tokens.div_ceil(4).next_multiple_of(2);
        let cells = [8, 4].into_iter().find(fits).unwrap_or(2);
        TiledSizes { tokens, heads, all_heads: batch * heads, width, parts, group, spacing, slots, cells }
    }

    fn scale(self) -> f32 {
        (LOG2_E / f64::from(self.width).sqrt()) as f32
    }

    fn workgroups(self) -> u32 {
        (self.all_heads * self.spacing).div_ceil(self.group)
    }

    /// FLOPs of one product of the token matrix with the channels, over all heads.
    fn product(self) -> u64 {
        let channels = u64::from(self.all_heads) * u64::from(self.width);
        2 * channels * u64::from(self.tokens) * u64::from(self.tokens)
    }
}

/// Writes y and stats `[B, heads, 2, T]`.
pub(super) fn forward(tape: &mut Tape, s: TiledSizes, qkv: Tensor, [y, stats]: [Tensor; 2]) {
    let TiledSizes { tokens: t, heads, all_heads, width, parts, group, spacing, slots, cells } = s;
    let scale = s.scale();
    let kernel = Forward { qkv, y, stats, t, heads, width, scale, parts, group, spacing, slots, cells, all_heads };
    tape.emit(kernel, s.workgroups(), 2 * s.product());
}

/// Writes the gradient of qkv, or adds to it, by a kernel for q and one for k and v.
pub(super) fn backward(tape: &mut Tape, s: TiledSizes, o: Operands, dqkv: Tensor, add: bool) {
    let TiledSizes { tokens: t, heads, all_heads, width, parts, group, spacing, slots, cells } = s;
    let Operands { qkv, y: result, saved, dy } = o;
    let scale = s.scale();
    let summary = tape.transient(Shape::f32([all_heads, 3, t]));
    let query = BackwardQuery {
        qkv,
        saved,
        dy,
        dqkv,
        result,
        summary_out: summary,
        t,
        heads,
        width,
        scale,
        add,
        parts,
        group,
        spacing,
        slots,
        cells,
        all_heads,
    };
    tape.emit(query, s.workgroups(), 3 * s.product());
    let part = tape.shape(dy).bytes();
    tape.moves(dqkv, part);
    let key_value = BackwardKeyValue {
        qkv,
        dy,
        summary,
        dqkv,
        t,
        heads,
        width,
        scale,
        add,
        parts,
        group,
        spacing,
        slots,
        cells,
        all_heads,
    };
    tape.emit(key_value, s.workgroups(), 2 * s.product());
    // The scores and their gradients.
    tape.repeats(2 * s.product());
    tape.moves(dqkv, 2 * part);
}
