//! How the wide kernels of 1x1 convolutions divide channels and pixels.

use super::sizes::ConvSizes;
use crate::tape::{Shape, Tape, Tensor};

/// Lanes that hold weights (or pixels of dy) in the largest chunk, which has 8 channels (or pixels)
/// for each of them. Half as many make the kernels 10 to 35 percent slower. They compile in half
/// the time, and in a fifth of the time by Mesa 25.
pub(super) const CHUNK_LANES: u32 = 8;

/// Workgroups that keep the threads of a driver busy. Each more costs additional loads.
pub(super) const WORKGROUPS: u32 = 16;

/// How channels of the source are divided into chunks.
pub(super) struct Chunks {
    /// Lanes that hold weights: an eighth of the channels of a chunk.
    pub chunk_lanes: u32,
    /// Channels of all chunks: at least those of the source.
    pub width: u32,
}

impl Chunks {
    /// The cheapest chunks. A chunk costs its loads and products, and the sums of the previous
    /// chunks, which take as long as the products of 12 channels.
    pub fn new(t: &Tape, channels: u32) -> Chunks {
        let most = CHUNK_LANES.min(t.target().lanes());
        let count = |lanes: u32| channels.div_ceil(8 * lanes);
        let cost = |&lanes: &u32| count(lanes) * (2 * lanes + 3);
        // Of two that cost the same, the larger.
        let sizes = [8, 4].into_iter().filter(|&lanes| lanes <= most);
        let chunk_lanes = sizes.min_by_key(cost).unwrap_or(most);
        Chunks { chunk_lanes, width: count(chunk_lanes) * chunk_lanes * 8 }
    }
}

/// Partial sums of the gradients of weights and bias.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// Channels of x in a lane.
    pub lane_channels: u32,
    /// Subgroups that own all channels of x.
    pub blocks: u32,
    pub splits: u32,
    pub w: Tensor,
    pub b: Tensor,
}

impl Parts {
    /// At most one split per chunk of pixels.
    pub fn new(t: &mut Tape, s: ConvSizes, lane_channels: u32, chunks: u32) -> Parts {
        let lanes = t.target().lanes();
        let blocks = s.channels_in.div_ceil(lanes * lane_channels);
        let splits = (WORKGROUPS / blocks).clamp(1, chunks);
        let w = t.transient(Shape::f32([splits, blocks * s.channels_out * lanes * 8]));
        let b = t.transient(Shape::f32([splits, s.channels_out]));
        Parts { lane_channels, blocks, splits, w, b }
    }
}

/// Channels of x in a lane, for the gradient of the weights: 8, or 4 if that takes less time. A
/// block of 4 takes two thirds of the time of a block of 8.
pub(super) fn lane_channels(channels_in: u32, lanes: u32) -> u32 {
    let blocks = |channels: u32| channels_in.div_ceil(lanes * channels);
    if 2 * blocks(4) < 3 * blocks(8) { 4 } else { 8 }
}
