// Gradients of y = softmax(q k^T / sqrt(d)) v in each head, with elements of 64 bits, for software
// Vulkan. attention_forward_wide.wgsl says what lanes, tiles, blocks and chunks are; here the own
// tokens of a lane are keys.
//
// With p recomputed from stats, and delta = rowsum(dy * y):
//   dv = p^T dy;  ds = p * (dy v^T - delta);  dq = ds k / sqrt(d);  dk = ds^T q / sqrt(d)
//
// qkv, dqkv          [B, 3 I, T]: the channels of q, then those of k, then those of v. dqkv_wide is
//                    dqkv with elements of 64 bits, for dq.
// y, dy              [B, I, T]; result and dresult are y and dy
// saved              [B, heads, 2, T]: the stats of the forward pass
// summary, prepared  [B, heads, 3, tiles, TILE_SIZE]: largest score, share, share * delta. A query
//                    that does not exist has HIGHEST, 0, 0.
//
// backward_prepare    one invocation for each tile of each head.
// backward            grid (1, heads, B). dq, dk and dv at once, so that the scores are computed
//                     once: FLOPs 10 T^2 I B. The workgroup takes the blocks of keys in turn. dk and
//                     dv of a block are summed in the loop over the queries, and dq in memory.
// backward_unaligned  the same with dq as elements of 32 bits, for T that TILE_SIZE does not divide.
// Bytes: each block reads q, dy and dq of its head once, thus 16 T^2 I B / (OWN L), mostly from
// caches.

struct Dims {
  tokens: u32,
  heads: u32,     // of all images
  scale: f32,     // log2(e) / sqrt(d), so that scores are in units of log 2
}

override CHUNKS: u32;     // d / L
override OWN: u32;        // 4 or 5
override ALIGNED: bool;   // whether TILE_SIZE divides T
override ADD: bool;

const LOWEST = -1e38;     // score of a key that does not exist
const HIGHEST = 1e38;     // largest score of a query that does not exist
const LN_2 = 0.6931471805599453;   // scale * LN_2 = 1 / sqrt(d)

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> qkv: array<vec2<u64>>;

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

@group(0) @binding(1) var<storage, read> result: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> dresult: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read> saved: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> summary: array<vec2<u64>>;

fn load_product(at: u32, end: u32) -> vec4<f32> {
  let e = elements(at, end);
  let low = unpack(result[e.x]) * unpack(dresult[e.x]);
  if (ALIGNED) {
    return low;
  }
  return shifted(at, low, unpack(result[e.y]) * unpack(dresult[e.y]));
}

fn load_saved(at: u32, end: u32) -> vec4<f32> {
  let e = elements(at, end);
  if (ALIGNED) {
    return unpack(saved[e.x]);
  }
  return shifted(at, unpack(saved[e.x]), unpack(saved[e.y]));
}

fn exist(token: u32) -> vec4<bool> {
  return token + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(dims.tokens);
}

@compute @workgroup_size(FLAT)
fn backward_prepare(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.heads * tiles(dims.tokens)) {
    let head = i / tiles(dims.tokens);
    let tile = i % tiles(dims.tokens);
    let token = tile * TILE_SIZE;
    let end = (head + 1u) * CHUNKS * L * dims.tokens;
    var delta: vec4<f32>;
    for (var c = head * CHUNKS * L; c < (head + 1u) * CHUNKS * L; c++) {
      delta += load_product(c * dims.tokens + token, end);
    }
    let row = 2u * head * dims.tokens + token;
    let rows_end = 2u * (head + 1u) * dims.tokens;
    let largest = load_saved(row, rows_end);
    let share = load_saved(row + dims.tokens, rows_end);
    let to = 3u * head * tiles(dims.tokens) + tile;
    summary[to] = pack(select(vec4<f32>(HIGHEST), largest, exist(token)));
    summary[to + tiles(dims.tokens)] = pack(select(vec4<f32>(), share, exist(token)));
    summary[to + 2u * tiles(dims.tokens)] = pack(select(vec4<f32>(), share * delta, exist(token)));
  }
}

@group(0) @binding(2) var<storage, read> dy: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read> prepared: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(5) var<storage, read_write> dqkv_wide: array<vec2<u64>>;

// Like load, from dy.
fn load_dy(first: u32, at: u32) -> vec4<f32> {
  let e = elements(at, head_size(sizes())) + first / TILE_SIZE;
  if (ALIGNED) {
    return unpack(dy[e.x]);
  }
  return shifted(at, unpack(dy[e.x]), unpack(dy[e.y]));
}

struct Keys {
  // 0, or LOWEST for own keys that do not exist: added to their scores, so that their weights are 0.
  // Their channels are those of other keys, with scores of any size.
  offset: Own,
  k: OwnChannels,
  v: OwnChannels,
  // [h L + l]: channel h L + lane of k for the own tokens of lane l, over sqrt(d).
  transposed: OwnChannels,
  dk: OwnChannels,
  dv: OwnChannels,
}

// Channel `lane` of chunk h of a tile of k. Keys that do not exist are 0, so that they add nothing
// to dq.
fn transposed_k(tile: u32, p: Position, h: u32) -> vec4<f32> {
  let k4 = load(p.k, p.row + h * L * dims.tokens + tile * TILE_SIZE);
  return select(vec4<f32>(), k4, exist(tile * TILE_SIZE)) * (dims.scale * LN_2);
}

fn load_keys(keys: ptr<function, Keys>, block: u32, p: Position, h: u32) {
  for (var c = h * L; c < h * L + L; c++) {
    (*keys).k[c] = load_own(p.k, c * dims.tokens, p);
    (*keys).dk[c] = Own();
    (*keys).dv[c] = Own();
  }
  for (var c = h * L; c < h * L + L; c++) {
    (*keys).v[c] = load_own(p.v, c * dims.tokens, p);
  }
  for (var l = 0u; l < L; l++) {
    (*keys).transposed[h * L + l].tile = transposed_k(block * L + l, p, h);
  }
  for (var l = 0u; l < L; l += TILE_SIZE) {
    let k4 = transposed_k(blocks(sizes()) * L + (block * L + l) / TILE_SIZE, p, h);
    for (var i = 0u; i < TILE_SIZE; i++) {
      (*keys).transposed[h * L + l + i].extra = k4[i];
    }
  }
}

struct Tiles {
  q: Chunks,            // times scale, so that scores have the same bits as in `forward`
  dy: Chunks,           // times share
  summary: vec4<f32>,   // row `lane`
  p: OwnTile,           // weights over share
  ds: OwnTile,
}

// Sets p[j] and ds[j].
fn score(tiles: ptr<function, Tiles>, keys: ptr<function, Keys>, j: u32) {
  var s: Own;
  var dp: Own;
  for (var h = 0u; h < CHUNKS; h++) {
    let value = (*tiles).q[h][j];
    for (var c = 0u; c < L; c++) {
      let x = subgroupShuffle(value, c);
      s.tile += (*keys).k[h * L + c].tile * x;
      s.extra += (*keys).k[h * L + c].extra * x;
    }
  }
  for (var h = 0u; h < CHUNKS; h++) {
    let value = (*tiles).dy[h][j];
    for (var c = 0u; c < L; c++) {
      let x = subgroupShuffle(value, c);
      dp.tile += (*keys).v[h * L + c].tile * x;
      dp.extra += (*keys).v[h * L + c].extra * x;
    }
  }
  let row = (*tiles).summary[j];
  let largest = subgroupShuffle(row, 0u);
  let delta = subgroupShuffle(row, 2u);
  let offset = (*keys).offset;
  let weight = Own(exp2(s.tile + offset.tile - largest), exp2(s.extra + offset.extra - largest));
  (*tiles).p[j] = weight;
  (*tiles).ds[j] = Own(weight.tile * (dp.tile - delta), weight.extra * (dp.extra - delta));
}

// Channel `lane` of chunk h of the sum over own token i of all lanes, for dq.
fn weigh_keys(tiles: ptr<function, Tiles>, keys: ptr<function, Keys>, i: u32, h: u32) -> vec4<f32> {
  var sum: vec4<f32>;
  for (var l = 0u; l < L; l++) {
    for (var j = 0u; j < TILE_SIZE; j++) {
      let value = number((*tiles).ds[j], i);
      let x = subgroupShuffle(value, l);
      sum[j] += x * number((*keys).transposed[h * L + l], i);
    }
  }
  return sum;
}

// Adds to chunk h of dk and dv. Returns what the block adds to dq.
fn add_queries(tiles: ptr<function, Tiles>, keys: ptr<function, Keys>, h: u32) -> vec4<f32> {
  for (var c = 0u; c < L; c++) {
    var sum: Own;
    for (var j = 0u; j < TILE_SIZE; j++) {
      let value = (*tiles).dy[h][j];
      let x = subgroupShuffle(value, c);
      sum.tile += (*tiles).p[j].tile * x;
      sum.extra += (*tiles).p[j].extra * x;
    }
    (*keys).dv[h * L + c].tile += sum.tile;
    (*keys).dv[h * L + c].extra += sum.extra;
  }
  for (var c = 0u; c < L; c++) {
    var sum: Own;
    for (var j = 0u; j < TILE_SIZE; j++) {
      let value = (*tiles).q[h][j];
      let x = subgroupShuffle(value, c);
      sum.tile += (*tiles).ds[j].tile * x;
      sum.extra += (*tiles).ds[j].extra * x;
    }
    (*keys).dk[h * L + c].tile += sum.tile;
    (*keys).dk[h * L + c].extra += sum.extra;
  }
  var dq4 = weigh_keys(tiles, keys, 0u, h);
  dq4 += weigh_keys(tiles, keys, 1u, h);
  dq4 += weigh_keys(tiles, keys, 2u, h);
  dq4 += weigh_keys(tiles, keys, 3u, h);
  if (OWN > TILE_SIZE) {
    dq4 += weigh_keys(tiles, keys, 4u, h);
  }
  return dq4;
}

fn share_of(row: f32) -> f32 {
  return subgroupShuffle(row, 1u);
}

// Weights of the tile of queries from token j on.
fn load_tiles(keys: ptr<function, Keys>, p: Position, lane: Lane, j: u32) -> Tiles {
  let row = unpack(prepared[(3u * p.head + min(lane.index, 2u)) * tiles(dims.tokens) + j / TILE_SIZE]);
  let share = vec4<f32>(share_of(row.x), share_of(row.y), share_of(row.z), share_of(row.w));
  var tiles: Tiles;
  tiles.summary = row;
  for (var h = 0u; h < CHUNKS; h++) {
    tiles.q[h] = load(p.q, p.row + h * L * dims.tokens + j) * dims.scale;
    tiles.dy[h] = load_dy(p.y, p.row + h * L * dims.tokens + j) * share;
  }
  score(&tiles, keys, 0u);
  score(&tiles, keys, 1u);
  score(&tiles, keys, 2u);
  score(&tiles, keys, 3u);
  return tiles;
}

fn store_keys(keys: ptr<function, Keys>, p: Position, h: u32) {
  for (var i = 0u; i < OWN; i++) {
    let token = own_token(p, i);
    if (token < dims.tokens) {
      for (var c = h * L; c < h * L + L; c++) {
        let to_k = p.k + c * dims.tokens + token;
        let to_v = p.v + c * dims.tokens + token;
        let gradient = number((*keys).dk[c], i) * LN_2;
        if (ADD) {
          dqkv[to_k] += gradient;
          dqkv[to_v] += number((*keys).dv[c], i);
        } else {
          dqkv[to_k] = gradient;
          dqkv[to_v] = number((*keys).dv[c], i);
        }
      }
    }
  }
}

fn store_dq(gradient: vec4<f32>, p: Position, j: u32, block: u32, h: u32) {
  let to = (p.q + p.row + h * L * dims.tokens + j) / TILE_SIZE;
  dqkv_wide[to] = pack(gradient + select(vec4<f32>(), unpack(dqkv_wide[to]), ADD || block > 0u));
}

fn load_chunks(keys: ptr<function, Keys>, block: u32, p: Position) {
  let extra = select(LOWEST, 0.0, p.extra < dims.tokens);
  (*keys).offset = Own(select(vec4<f32>(LOWEST), vec4<f32>(), exist(p.tile)), extra);
  load_keys(keys, block, p, 0u);
  if (CHUNKS > 1u) {
    load_keys(keys, block, p, 1u);
  }
  if (CHUNKS > 2u) {
    load_keys(keys, block, p, 2u);
  }
  if (CHUNKS > 3u) {
    load_keys(keys, block, p, 3u);
  }
}

fn add_chunks(tiles: ptr<function, Tiles>, keys: ptr<function, Keys>) -> Chunks {
  var sum: Chunks;
  sum[0] = add_queries(tiles, keys, 0u);
  if (CHUNKS > 1u) {
    sum[1] = add_queries(tiles, keys, 1u);
  }
  if (CHUNKS > 2u) {
    sum[2] = add_queries(tiles, keys, 2u);
  }
  if (CHUNKS > 3u) {
    sum[3] = add_queries(tiles, keys, 3u);
  }
  return sum;
}

fn store_chunks(keys: ptr<function, Keys>, p: Position) {
  store_keys(keys, p, 0u);
  if (CHUNKS > 1u) {
    store_keys(keys, p, 1u);
  }
  if (CHUNKS > 2u) {
    store_keys(keys, p, 2u);
  }
  if (CHUNKS > 3u) {
    store_keys(keys, p, 3u);
  }
}

@compute @workgroup_size(WG)
fn backward(lane: Lane) {
  for (var block = 0u; block < blocks(sizes()); block++) {
    let p = position_of(lane, block, sizes());
    var keys: Keys;
    load_chunks(&keys, block, p);
    for (var j = 0u; j < dims.tokens; j += TILE_SIZE) {
      var tiles = load_tiles(&keys, p, lane, j);
      var gradient = add_chunks(&tiles, &keys);
      for (var h = 0u; h < CHUNKS; h++) {
        store_dq(gradient[h], p, j, block, h);
      }
    }
    store_chunks(&keys, p);
  }
}

fn store_dq_row(gradient: vec4<f32>, p: Position, j: u32, block: u32, h: u32) {
  for (var i = 0u; i < TILE_SIZE; i++) {
    if (j + i < dims.tokens) {
      let to = p.q + p.row + h * L * dims.tokens + j + i;
      dqkv[to] = gradient[i] + select(0.0, dqkv[to], ADD || block > 0u);
    }
  }
}

@compute @workgroup_size(WG)
fn backward_unaligned(lane: Lane) {
  for (var block = 0u; block < blocks(sizes()); block++) {
    let p = position_of(lane, block, sizes());
    var keys: Keys;
    load_chunks(&keys, block, p);
    for (var j = 0u; j < dims.tokens; j += TILE_SIZE) {
      var tiles = load_tiles(&keys, p, lane, j);
      var gradient = add_chunks(&tiles, &keys);
      for (var h = 0u; h < CHUNKS; h++) {
        store_dq_row(gradient[h], p, j, block, h);
      }
    }
    store_chunks(&keys, p);
  }
}
