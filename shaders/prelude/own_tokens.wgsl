// The tokens of a lane in the wide attention shaders. attention_forward_wide.wgsl says what lanes,
// tiles, blocks and chunks are.

const TILE_SIZE = 4u;     // tokens of a tile
const MAX_CHUNKS = 4u;

// A number for each own token. With own = 4 the compiler removes all that belongs to `extra`.
struct Own {
  tile: vec4<f32>,
  extra: f32,
}

alias OwnChannels = array<Own, MAX_CHUNKS * L>;   // for each own token and each channel
alias OwnTile = array<Own, TILE_SIZE>;            // for each own token and each token of a tile
alias Chunks = array<vec4<f32>, MAX_CHUNKS>;      // a tile of channel `lane` of each chunk

// Sizes of a head.
struct Sizes {
  tokens: u32,
  chunks: u32,
  own: u32,     // tokens of a lane
}

struct Position {
  head: u32,    // numbered through the batch
  q: u32,       // index of the head's first number of q, in qkv and dqkv
  k: u32,
  v: u32,
  y: u32,       // the same in y and dy
  row: u32,     // offset in the head of channel `lane` of the first chunk
  tile: u32,    // first token of the lane's tile, maybe past the end
  extra: u32,   // the lane's other token, maybe past the end
}

fn tiles(tokens: u32) -> u32 {
  return (tokens + TILE_SIZE - 1u) / TILE_SIZE;
}

fn blocks(s: Sizes) -> u32 {
  return (tiles(s.tokens) * TILE_SIZE + s.own * L - 1u) / (s.own * L);
}

// Numbers of a head of q, k or v.
fn head_size(s: Sizes) -> u32 {
  return s.chunks * L * s.tokens;
}

// The tiles of all blocks come before all other tokens. Grid: (..., heads, B).
fn position_of(lane: Lane, block: u32, s: Sizes) -> Position {
  let head = lane.workgroup.z * lane.workgroups.y + lane.workgroup.y;
  let part = lane.workgroups.y * head_size(s);
  let y = head * head_size(s);
  let q = y + 2u * lane.workgroup.z * part;
  let tile = (block * L + lane.index) * TILE_SIZE;
  let extra = (blocks(s) * TILE_SIZE + block) * L + lane.index;
  return Position(head, q, q + part, q + 2u * part, y, lane.index * s.tokens, tile, extra);
}

fn own_token(p: Position, i: u32) -> u32 {
  return select(p.tile + i, p.extra, i == TILE_SIZE);
}

// Numbers of the own tokens: the own tile, and the one of `other` that belongs to p.extra.
fn own_numbers(tile: vec4<f32>, other: vec4<f32>, p: Position) -> Own {
  let i = p.extra % TILE_SIZE;
  let low = select(other.x, other.y, i == 1u);
  let high = select(other.z, other.w, i == 3u);
  return Own(tile, select(low, high, i >= 2u));
}

fn number(own: Own, i: u32) -> f32 {
  return select(own.tile[i % TILE_SIZE], own.extra, i == TILE_SIZE);
}
