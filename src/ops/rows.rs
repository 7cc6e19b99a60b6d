//! How kernels divide rows and channels between the lanes of a workgroup.

use super::kernels::prelude::{common, reduce_workgroup};
use crate::gpu::{KernelVariant, Target};
use crate::tape::Shape;

/// Batch, channels, and elements per channel of `[B, C, ...]`.
pub(super) fn batch_channels_area(x: Shape) -> [u32; 3] {
    let dims = x.dims();
    [dims[0], dims[1], dims[2..].iter().product()]
}

/// Workgroups in a row of [`piece_grid`]. Far below the limit of devices, so that tests of several
/// rows are small.
pub(super) const PIECE_ROW: u32 = 1024;

/// Grid of a copy of one piece per image and operand: `units` elements or vec4s, images, and
/// operands. Many workgroups per piece are folded into rows, because a
/// dimension of the grid is limited: the last dimension counts operands in each row.
pub(super) fn piece_grid(target: Target, units: u32, images: u32, operands: u32) -> [u32; 3] {
    let groups = units.div_ceil(common::FLAT);
    let row = Target { grid_row: target.grid_row.min(PIECE_ROW), ..target };
    let [across, rows] = row.fold(groups);
    [across, images, rows * operands]
}

/// Spans of `span` lanes in a workgroup of size WG, which the prelude defines.
pub(super) fn spans(target: Target, span: u32) -> u32 {
    if target.variant == KernelVariant::Subgroup { target.lanes() / span } else { reduce_workgroup::WG / span }
}

/// Lanes that share a row of `cells` vec4s, if there are enough rows for many workgroups.
/// Neighboring lanes read neighboring cells.
pub(super) fn row_span(target: Target, cells: u32) -> u32 {
    cells.next_power_of_two().min(32).min(spans(target, 1))
}

/// Lanes that share a channel, if one workgroup processes `channels` channels of `cells` vec4s.
pub(super) fn channel_span(target: Target, channels: u32, cells: u32) -> u32 {
    fewest_rounds(spans(target, 1), channels, cells)
}

/// Lanes that share a channel, if so many `lanes` process `channels` channels of `cells` vec4s: the
/// span with the fewest rounds.
pub(super) fn fewest_rounds(lanes: u32, channels: u32, cells: u32) -> u32 {
    let rounds = |&span: &u32| channels.div_ceil(lanes / span) * cells.div_ceil(span);
    (0..=lanes.ilog2()).map(|i| 1 << i).min_by_key(rounds).unwrap_or(lanes)
}

/// Groups of four rows in the tile of a subgroup: as many as registers hold, or half as many if
/// that leaves clearly fewer rows empty. Few different values, because each is compiled separately.
pub(super) fn row_groups(rows: u32, lanes: u32) -> u32 {
    let needed = rows.div_ceil(4);
    let most = lanes.min(8);
    let half = most / 2;
    match needed {
        1 | 2 => needed,
        _ if 5 * needed.next_multiple_of(half) < 4 * needed.next_multiple_of(most) => half,
        _ => most,
    }
}
