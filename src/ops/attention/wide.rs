//! Attention with elements of 64 bits, for software Vulkan drivers: one kernel computes the
//! gradients of q, k and v.

use crate::ops::kernels::prelude::own_tokens;
use crate::ops::kernels::{attention_backward_wide, attention_forward_wide};
use crate::tape::{Shape, Tape, Tensor};
use std::f64::consts::LOG2_E;

/// With heads of one chunk and fewer tokens, the kernels of `attention_subgroup.wgsl` are faster.
const MIN_TOKENS: u32 = 20;

/// Sizes from which constants and grids of the kernels follow.
#[derive(Clone, Copy)]
pub(super) struct WideSizes {
    batch: u32,
    /// Heads of an image.
    heads: u32,
    width: u32,
    tokens: u32,
    lanes: u32,
}

impl WideSizes {
    /// Whether the kernels fit attention with the result `y` `[B, I, T]` in heads of `width`
    /// channels: the target runs wide kernels and has at most 8 lanes, and the width is 1 to 4
    /// times the number of lanes. Heads of one chunk need at least MIN_TOKENS tokens; wider heads
    /// take any number.
    pub(super) fn fit(t: &Tape, y: Tensor, width: u32) -> bool {
        let [_, _, tokens] = t.shape(y).as_array();
        let lanes = t.target().lanes();
        let chunks = width / lanes;
        t.target().is_wide()
            && lanes <= 8
            && width.is_multiple_of(lanes)
            && (1..=own_tokens::MAX_CHUNKS).contains(&chunks)
            && (chunks > 1 || tokens >= MIN_TOKENS)
    }

    /// Sizes for a result of the shape of `y`.
    pub(super) fn new(t: &Tape, y: Tensor, width: u32) -> WideSizes {
        let [batch, channels, tokens] = t.shape(y).as_array();
        WideSizes { batch, heads: channels / width, width, tokens, lanes: t.target().lanes() }
    }

    fn chunks(self) -> u32 {
        self.width / self.lanes
    }

    fn tiles(self) -> u32 {
        self.tokens.div_ceil(own_tokens::TILE_SIZE)
    }

    fn aligned(self) -> bool {
        self.tokens.is_multiple_of(own_tokens::TILE_SIZE)
    }

    /// Blocks of `own` tokens per lane.
    fn blocks(self, own: u32) -> u32 {
        (self.tiles() * own_tokens::TILE_SIZE).div_ceil(own * self.lanes)
    }

    /// Tokens of a lane: the number that leaves fewer lanes idle. Five tokens of a wide head take
    /// too long to compile.
    fn own(self) -> u32 {
        if self.chunks() <= 2 && 5 * self.blocks(5) <= 4 * self.blocks(4) { 5 } else { 4 }
    }

    fn scale(self) -> f32 {
        (LOG2_E / f64::from(self.width).sqrt()) as f32
    }

    /// Heads of all images.
    fn all_heads(self) -> u32 {
        self.batch * self.heads
    }

    /// FLOPs of one product of the token matrix with the channels, over all heads.
    fn product(self) -> u64 {
        let channels = u64::from(self.all_heads()) * u64::from(self.width);
        2 * channels * u64::from(self.tokens) * u64::from(self.tokens)
    }
}

/// Writes y and stats `[B, heads, 2, T]`, in the layout of `attention_subgroup.wgsl`.
pub(super) fn forward(t: &mut Tape, s: WideSizes, qkv: Tensor, [y, stats]: [Tensor; 2]) {
    let own = s.own();
    let kernel = attention_forward_wide::Forward {
        qkv,
        y,
        stats,
        chunks: s.chunks(),
        own,
        aligned: s.aligned(),
        tokens: s.tokens,
        scale: s.scale(),
    };
    t.emit_grid(kernel, [s.blocks(own), s.heads, s.batch], 2 * s.product());
}

/// The tensors from which the gradient is computed.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub qkv: Tensor,
    pub y: Tensor,
    pub saved: Tensor,
    pub dy: Tensor,
}

/// Writes the gradient of qkv, or adds to it.
pub(super) fn backward(t: &mut Tape, s: WideSizes, o: Operands, dqkv: Tensor, add: bool) {
    let Operands { qkv, y, saved, dy } = o;
    let chunks = s.chunks();
    let aligned = s.aligned();
    let own = s.own();
    let tokens = s.tokens;
    let heads = s.all_heads();
    let scale = s.scale();
    let summary = t.transient(Shape::f32([heads, 3, s.tiles() * own_tokens::TILE_SIZE]));
    let prepare = attention_backward_wide::BackwardPrepare {
        result: y,
        dresult: dy,
        saved,
        summary,
        chunks,
        aligned,
        tokens,
        heads,
        scale,
    };
    t.emit_flat(prepare, heads * s.tiles(), 2 * u64::from(heads * tokens) * u64::from(s.width));
    let prepared = summary;
    let grid = [1, s.heads, s.batch];
    let flops = 5 * s.product();
    if aligned {
        use attention_backward_wide::Backward;
        let dqkv_wide = dqkv;
        let kernel = Backward { qkv, dy, prepared, dqkv, dqkv_wide, chunks, own, aligned, add, tokens, heads, scale };
        t.emit_grid(kernel, grid, flops);
        // One binding writes dq, and the other dk and dv.
        t.moves(dqkv, t.shape(dqkv).bytes() / 2);
    } else {
        use attention_backward_wide::BackwardUnaligned;
        let kernel = BackwardUnaligned { qkv, dy, prepared, dqkv, chunks, own, aligned, add, tokens, heads, scale };
        t.emit_grid(kernel, grid, flops);
    }
}
