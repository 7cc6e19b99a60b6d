// y = softmax(q k^T / sqrt(d)) v in each head, with elements of 64 bits, for software Vulkan: the
// forward pass. attention_backward_wide.wgsl has the gradients. The head's number of channels d is a
// multiple of L, at most MAX_CHUNKS L.
//
// qkv    [B, 3 I, T]: the channels of q, then those of k, then those of v. Head h has the d channels
//        from h d on in each of them. The tokens of a channel are contiguous.
// y      [B, I, T], with the same heads
// stats  [B, heads, 2, T] as in attention_subgroup.wgsl: the largest score of each query in units of
//        log 2, and the reciprocal of the sum of exponentials relative to it, which is called share
//        below.
//
// A tile is TILE_SIZE tokens, an element with four numbers. One workgroup is one subgroup. Each lane
// owns OWN queries: a tile, and with OWN = 5 one more token, which leaves fewer lanes idle for some
// T. OWN L tokens are a block. The keys come in tiles: lane c loads a tile of channel c, and its
// values are broadcast. So two numbers of 64 bits per lane serve 4 OWN L multiply-adds in each
// product. Wider heads are chunks of L channels. All own channels stay in registers and on the stack,
// so the scores are computed once.
//
// A software driver blends everything that a loop carries with the mask of active lanes. Tiles of 8
// tokens would halve that, but the loop then has too much code, and it is slower by 40 %.
//
// Grid (blocks, heads, B). FLOPs 4 T^2 I B. Bytes: each block reads k and v of its head once, thus
// 8 T^2 I B / (OWN L), mostly from caches.
//
// Mesa unrolls a loop if its trips times its instructions stay below about 800. So functions that
// loop over the channels of a chunk are called once for each chunk.

struct Dims {
  tokens: u32,
  scale: f32,     // log2(e) / sqrt(d), so that scores are in units of log 2
}

override CHUNKS: u32;     // d / L
override OWN: u32;        // 4 or 5
override ALIGNED: bool;   // whether TILE_SIZE divides T

const LOWEST = -1e38;     // score of a key that does not exist

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;

fn sizes() -> Sizes {
  return Sizes(dims.tokens, CHUNKS, OWN);
}

// Four numbers of a head of q, k or v from offset `at` on. The head's first number has the index
// `first` in qkv, and begins an element, because L is a multiple of TILE_SIZE. Nothing after the
// head's last number is read. Only the last addition differs between q, k and v: the compiler shares
// the rest.
fn load(first: u32, at: u32) -> vec4<f32> {
  let e = elements(at, head_size(sizes())) + first / TILE_SIZE;
  if (ALIGNED) {
    return unpack(qkv[e.x]);
  }
  return shifted(at, unpack(qkv[e.x]), unpack(qkv[e.y]));
}

fn load_own(first: u32, row: u32, p: Position) -> Own {
  return own_numbers(load(first, row + p.tile), load(first, row + p.extra / TILE_SIZE * TILE_SIZE), p);
}

struct Queries {
  q: OwnChannels,   // times scale
  y: OwnChannels,   // relative to `largest`
  total: Own,
  largest: Own,
}

// Scores of key j of a tile.
fn scores(queries: ptr<function, Queries>, keys: ptr<function, Chunks>, j: u32) -> Own {
  var sum: Own;
  for (var h = 0u; h < CHUNKS; h++) {
    let value = (*keys)[h][j];
    for (var c = 0u; c < L; c++) {
      let x = subgroupShuffle(value, c);
      sum.tile += (*queries).q[h * L + c].tile * x;
      sum.extra += (*queries).q[h * L + c].extra * x;
    }
  }
  return sum;
}

// max(a, b), without the instructions that a driver adds for NaN.
fn larger(a: f32, b: f32) -> f32 {
  return select(b, a, a > b);
}

fn larger4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
  return select(b, a, a > b);
}

// Replaces the scores of the tile from token j on by their weights. Returns the factor of the
// sums so far.
fn weights(queries: ptr<function, Queries>, s: ptr<function, OwnTile>, j: u32) -> Own {
  if (!ALIGNED) {
    for (var l = 1u; l < TILE_SIZE; l++) {
      (*s)[l].tile = select(vec4<f32>(LOWEST), (*s)[l].tile, j + l < dims.tokens);
      (*s)[l].extra = select(LOWEST, (*s)[l].extra, j + l < dims.tokens);
    }
  }
  let old = (*queries).largest;
  let tile_top = larger4(larger4((*s)[0].tile, (*s)[1].tile), larger4((*s)[2].tile, (*s)[3].tile));
  let extra_top = larger(larger((*s)[0].extra, (*s)[1].extra), larger((*s)[2].extra, (*s)[3].extra));
  let top = Own(larger4(old.tile, tile_top), larger(old.extra, extra_top));
  let kept = Own(exp2(old.tile - top.tile), exp2(old.extra - top.extra));
  var sum: Own;
  for (var l = 0u; l < TILE_SIZE; l++) {
    (*s)[l].tile = exp2((*s)[l].tile - top.tile);
    (*s)[l].extra = exp2((*s)[l].extra - top.extra);
    sum.tile += (*s)[l].tile;
    sum.extra += (*s)[l].extra;
  }
  (*queries).largest = top;
  (*queries).total.tile = (*queries).total.tile * kept.tile + sum.tile;
  (*queries).total.extra = (*queries).total.extra * kept.extra + sum.extra;
  return kept;
}

fn load_queries(queries: ptr<function, Queries>, p: Position, h: u32) {
  for (var c = h * L; c < h * L + L; c++) {
    let own = load_own(p.q, c * dims.tokens, p);
    (*queries).q[c].tile = own.tile * dims.scale;
    (*queries).q[c].extra = own.extra * dims.scale;
  }
}

// Rescales chunk h of the sums, and adds the tile of keys from token j on. Each tile is summed
// first, which rounds less than adding its tokens one by one.
fn add_values(queries: ptr<function, Queries>, s: ptr<function, OwnTile>, kept: Own, p: Position, j: u32, h: u32) {
  let values = load(p.v, p.row + h * L * dims.tokens + j);
  for (var c = 0u; c < L; c++) {
    var sum: Own;
    for (var l = 0u; l < TILE_SIZE; l++) {
      let value = values[l];
      let x = subgroupShuffle(value, c);
      sum.tile += (*s)[l].tile * x;
      sum.extra += (*s)[l].extra * x;
    }
    let y = (*queries).y[h * L + c];
    (*queries).y[h * L + c].tile = y.tile * kept.tile + sum.tile;
    (*queries).y[h * L + c].extra = y.extra * kept.extra + sum.extra;
  }
}

fn store_queries(queries: ptr<function, Queries>, share: Own, p: Position, h: u32) {
  for (var i = 0u; i < OWN; i++) {
    let token = own_token(p, i);
    if (token < dims.tokens) {
      for (var c = h * L; c < h * L + L; c++) {
        y[p.y + c * dims.tokens + token] = number((*queries).y[c], i) * number(share, i);
      }
    }
  }
}

fn store_stats(queries: ptr<function, Queries>, share: Own, p: Position) {
  for (var i = 0u; i < OWN; i++) {
    let token = own_token(p, i);
    if (token < dims.tokens) {
      let to = 2u * p.head * dims.tokens + token;
      stats[to] = number((*queries).largest, i);
      stats[to + dims.tokens] = number(share, i);
    }
  }
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let p = position_of(lane, lane.workgroup.x, sizes());
  var queries: Queries;
  queries.largest = Own(vec4<f32>(LOWEST), LOWEST);
  load_queries(&queries, p, 0u);
  if (CHUNKS > 1u) {
    load_queries(&queries, p, 1u);
  }
  if (CHUNKS > 2u) {
    load_queries(&queries, p, 2u);
  }
  if (CHUNKS > 3u) {
    load_queries(&queries, p, 3u);
  }
  for (var j = 0u; j < dims.tokens; j += TILE_SIZE) {
    var keys: Chunks;
    for (var h = 0u; h < CHUNKS; h++) {
      keys[h] = load(p.k, p.row + h * L * dims.tokens + j);
    }
    var s: OwnTile;
    s[0] = scores(&queries, &keys, 0u);
    s[1] = scores(&queries, &keys, 1u);
    s[2] = scores(&queries, &keys, 2u);
    s[3] = scores(&queries, &keys, 3u);
    let kept = weights(&queries, &s, j);
    add_values(&queries, &s, kept, p, j, 0u);
    if (CHUNKS > 1u) {
      add_values(&queries, &s, kept, p, j, 1u);
    }
    if (CHUNKS > 2u) {
      add_values(&queries, &s, kept, p, j, 2u);
    }
    if (CHUNKS > 3u) {
      add_values(&queries, &s, kept, p, j, 3u);
    }
  }
  let share = Own(1.0 / queries.total.tile, 1.0 / queries.total.extra);
  store_stats(&queries, share, p);
  store_queries(&queries, share, p, 0u);
  if (CHUNKS > 1u) {
    store_queries(&queries, share, p, 1u);
  }
  if (CHUNKS > 2u) {
    store_queries(&queries, share, p, 2u);
  }
  if (CHUNKS > 3u) {
    store_queries(&queries, share, p, 3u);
  }
}
