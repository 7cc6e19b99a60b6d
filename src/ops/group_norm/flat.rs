//! Group normalization for GPUs: a group is one range of elements, and small groups share a
//! workgroup.

use super::wide::Operands;
use crate::gpu::KernelVariant;
use crate::ops::kernels::group_norm_flat::{Backward, Forward, MAX_HELD};
use crate::ops::kernels::prelude::reduce_workgroup::WG;
use crate::ops::rows::{batch_channels_area, fewest_rounds};
use crate::tape::{Tape, Tensor};

/// Lanes of a group, at least. With fewer, small batches would have too few workgroups.
const MIN_TEAM: u32 = 32;

/// A group normalization, and how the kernels divide a group.
#[derive(Clone, Copy)]
pub(super) struct FlatNorm {
    /// Whether SiLU follows.
    silu: bool,
    /// Groups of all images.
    blocks: u32,
    /// Groups of an image.
    groups: u32,
    /// Channels of a group.
    d: u32,
    hw: u32,
    /// Lanes of a group.
    team: u32,
    /// Lanes of a channel.
    span: u32,
    /// Vec4s that a lane keeps.
    held: u32,
    /// Numbers of x.
    numbers: u64,
}

impl FlatNorm {
    /// The division of `x` `[B, C, ...]` in `groups`, if the target is a GPU and a group's numbers
    /// are a multiple of 4. The batch has no influence.
    pub(super) fn new(t: &Tape, x: Tensor, groups: u32, silu: bool) -> Option<FlatNorm> {
        let [batch, channels, hw] = batch_channels_area(t.shape(x));
        let d = channels / groups;
        if t.target().variant != KernelVariant::Tiled || !(d * hw).is_multiple_of(4) {
            return None;
        }
        // As few lanes as keep the whole group.
        let cells = d * hw / 4;
        let team = cells.div_ceil(MAX_HELD).next_power_of_two().clamp(MIN_TEAM, WG);
        let held = cells.div_ceil(team).next_power_of_two().min(MAX_HELD);
        let span = fewest_rounds(team, d, hw.div_ceil(4));
        let blocks = batch * groups;
        Some(FlatNorm { silu, blocks, groups, d, hw, team, span, held, numbers: t.shape(x).len() as u64 })
    }

    fn aligned(self) -> bool {
        self.hw.is_multiple_of(4)
    }

    fn workgroups(self) -> u32 {
        self.blocks.div_ceil(WG / self.team)
    }
}

/// Writes y and stats `[B, groups, 2]`.
pub(super) fn forward(t: &mut Tape, s: FlatNorm, eps: f32, [x, w, b]: [Tensor; 3], [y, stats]: [Tensor; 2]) {
    let FlatNorm { silu, blocks, groups: norm_groups, d, hw, team, held, .. } = s;
    let aligned = s.aligned();
    let kernel = Forward { x, w, b, y, stats, eps, silu, aligned, team, held, blocks, norm_groups, d, hw };
    t.emit(kernel, s.workgroups(), 12 * s.numbers);
}

/// Writes the gradient of x, or adds to it, and the sums over each channel.
pub(super) fn backward(t: &mut Tape, s: FlatNorm, o: Operands, dx: Tensor, add: bool) {
    let FlatNorm { silu, blocks, groups: norm_groups, d, hw, team, span, .. } = s;
    let Operands { x, w, b, saved, dy, sums } = o;
    let aligned = s.aligned();
    let kernel = Backward { x, w, b, saved, dy, dx, sums, silu, aligned, team, span, add, blocks, norm_groups, d, hw };
    t.emit(kernel, s.workgroups(), 30 * s.numbers);
}
