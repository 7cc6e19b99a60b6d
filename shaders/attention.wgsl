// y = softmax(q k^T / sqrt(d)) v in each head: the tiled variant, for heads of up to MAX_WIDTH
// channels. attention_untiled.wgsl does wider heads.
//
// Backward, with p recomputed from stats and delta = rowsum(dy * y):
//   dv = p^T dy;  ds = p * (dy v^T - delta);  dq = ds k / sqrt(d);  dk = ds^T q / sqrt(d)
//
// qkv, dqkv         [B, 3 I, T]: the channels of q, then those of k, then those of v. Head h has the
//                   d = WIDTH channels from h d on in each of them. The tokens of a channel are
//                   contiguous.
// y, dy, result     [B, I, T], with the same heads; result is y in the backward pass
// stats, saved      [B, heads, 2, T]: the largest score of each query in units of log 2, and the
//                   reciprocal of the sum of exponentials relative to it. This is more accurate than
//                   the logarithm of the sum. The T x T matrix is never stored (Dao 2023,
//                   "FlashAttention-2").
// summary_out,      [B, heads, 3, T]: stats and delta. backward_query writes it, and
// summary           backward_key_value reads it.
//
// A lane owns a pair of tokens (queries in `forward` and `backward_query`, keys in
// `backward_key_value`): two, PAIRS apart, so that neighboring lanes load and store neighboring
// elements. A workgroup stages tiles of the tokens of the other side in workgroup memory. A lane
// reads four of them at a time, and each vec4 that it reads serves 8 multiply-adds, or 12 and more
// in the backward pass, which uses some of them twice.
//
// The pairs of all heads are numbered, and a workgroup does GROUP of them, which may belong to
// several heads: a tile has a slot for each. So few lanes are idle with few tokens. In wider heads
// PARTS lanes share a pair: each has CHANNELS channels of it, and they add up their parts of the
// scores in workgroup memory. So the work is linear in the width.
// FLOPs 4 T^2 I B forward, 6 T^2 I B for dq, and 4 T^2 I B for dk and dv, which computes s and dp
// again (not counted). Bytes: each workgroup reads the other side of its heads once.

override T: u32;
override HEADS: u32;    // of an image
override WIDTH: u32;
// log2(e) / sqrt(d), so that scores are in units of log 2. All kernels multiply the sum over the
// channels by it. In heads of up to 8 channels a score has the same bits in all of them. In wider
// ones the forward kernel has other parts, and a score of magnitude s differs by about s 2^-22.
override SCALE: f32;
override ADD: bool;
override PARTS: u32;    // lanes that share a pair
override GROUP: u32;    // pairs of a workgroup
override SPACING: u32;  // numbers that a head takes, at least PAIRS
override SLOTS: u32;    // heads of a workgroup, at most
override CELLS: u32;    // vec4s in a row of a tile: four tokens each; even

const MAX_WIDTH = 128u;
const MAX_CHANNELS = 16u;           // of a lane
const LOWEST = -1e38;               // score of a key that does not exist
const LN_2 = 0.6931471805599453;    // SCALE * LN_2 = 1 / sqrt(d)

override PAIRS = (T + 1u) / 2u;
override LANES = GROUP * PARTS;
override CHANNELS = (WIDTH + PARTS - 1u) / PARTS;
// Tiles of a slot and a part, with one vec4 between them: then lanes that read the same place of
// different tiles at once read different banks.
override SIDE = CHANNELS * CELLS;
override BLOCK = 2u * SIDE + 1u;
override TILES = SLOTS * PARTS * BLOCK;
override COUNT = SLOTS * PARTS * SIDE;          // vec4s of one side
override ROUNDS = (COUNT + LANES - 1u) / LANES;
override EXCHANGE = select(4u * LANES, 1u, PARTS == 1u);

struct Dims {
  all_heads: u32,   // of all images
}

@group(0) @binding(0) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;
@group(0) @binding(7) var<uniform> dims: Dims;

// [slot and part][k and v, or q and dy][channel][cell]
var<workgroup> tile: array<vec4<f32>, TILES>;
// [other token][part][pair]
var<workgroup> partial: array<Pair, EXCHANGE>;

// Numbers of the own tokens, for each channel of the lane's part.
alias Pair = vec2<f32>;
alias Own = array<Pair, MAX_CHANNELS>;

// Numbers of the own tokens, for each of four tokens of the other side.
struct Four {
  a: Pair,
  b: Pair,
  c: Pair,
  d: Pair,
}

struct Place {
  live: bool,         // whether the pair exists
  tokens: vec2<u32>,  // the own tokens, maybe past the end
  at: vec2<u32>,      // the same, or the last token
  head: u32,          // numbered through the batch
  first: u32,         // head of slot 0
  channel: u32,       // first channel of the part
  block: u32,         // start of the tiles of the lane's head and part
}

fn place(lane: Lane) -> Place {
  let part = lane.index / GROUP;
  let number = workgroup_index(lane) * GROUP + lane.index % GROUP;
  let pair = number % SPACING;
  let live = number / SPACING < dims.all_heads && pair < PAIRS;
  let head = min(number / SPACING, dims.all_heads - 1u);
  let first = min(workgroup_index(lane) * GROUP / SPACING, dims.all_heads - 1u);
  let tokens = pair + vec2<u32>(0u, PAIRS);
  let at = min(tokens, vec2<u32>(T - 1u));
  return Place(live, tokens, at, head, first, part * CHANNELS, ((head - first) * PARTS + part) * BLOCK);
}

// Index of an element of channel 0 of a head in qkv, for q, k and v (part 0, 1 and 2), and in y.
fn in_qkv(head: u32, part: u32) -> u32 {
  return (head + (2u * (head / HEADS) + part) * HEADS) * WIDTH * T;
}

fn in_y(head: u32) -> u32 {
  return head * WIDTH * T;
}

fn in_head(channel: u32) -> bool {
  return CHANNELS * PARTS == WIDTH || channel < WIDTH;
}

fn qkv1(i: u32) -> f32 {
  return qkv[i / 4u][i % 4u];
}

fn dy1(i: u32) -> f32 {
  return dy[i / 4u][i % 4u];
}

fn exist(token: u32) -> vec4<bool> {
  return vec4<u32>(token, token + 1u, token + 2u, token + 3u) < vec4<u32>(T);
}

// Four tokens of a row from `token`, a multiple of 4, on. Those past the end are zero.
fn qkv4(row: u32, token: u32) -> vec4<f32> {
  if (T % 4u == 0u) {
    return select(vec4<f32>(), qkv[(row + min(token, T - 4u)) / 4u], token < T);
  }
  let i = row + min(token + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(T - 1u));
  return select(vec4<f32>(), vec4<f32>(qkv1(i.x), qkv1(i.y), qkv1(i.z), qkv1(i.w)), exist(token));
}

fn dy4(row: u32, token: u32) -> vec4<f32> {
  if (T % 4u == 0u) {
    return select(vec4<f32>(), dy[(row + min(token, T - 4u)) / 4u], token < T);
  }
  let i = row + min(token + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(T - 1u));
  return select(vec4<f32>(), vec4<f32>(dy1(i.x), dy1(i.y), dy1(i.z), dy1(i.w)), exist(token));
}

// Where number i of one side of the tiles comes from, and where it goes.
struct Source {
  head: u32,
  channel: u32,   // may be past the end of the head
  token: u32,     // may be past the last one
  to: u32,
}

fn source(i: u32, first: u32, base: u32) -> Source {
  let row = i / CELLS;
  let block = row / CHANNELS;
  let channel = block % PARTS * CHANNELS + row % CHANNELS;
  let head = min(first + block / PARTS, dims.all_heads - 1u);
  return Source(head, channel, base + i % CELLS * 4u, block * BLOCK + i % SIDE);
}

// Numbers of the other side on their way to the tiles. All are loaded before the first is stored.
alias Held = array<vec4<f32>, 16>;

fn put(value: ptr<function, Held>, side: u32, lane: Lane) {
  for (var n = 0u; n < ROUNDS; n++) {
    let i = lane.index + n * LANES;
    if (COUNT % LANES == 0u || i < COUNT) {
      let s = source(i, 0u, 0u);
      tile[s.to + side * SIDE] = select(vec4<f32>(), (*value)[n], in_head(s.channel));
    }
  }
}

// Stages k and v from token `base` on, for all slots.
fn stage_key_value(first: u32, base: u32, lane: Lane) {
  var k: Held;
  var v: Held;
  for (var n = 0u; n < ROUNDS; n++) {
    let s = source(min(lane.index + n * LANES, COUNT - 1u), first, base);
    let row = in_qkv(s.head, 1u) + min(s.channel, WIDTH - 1u) * T;
    k[n] = qkv4(row, s.token);
    v[n] = qkv4(row + HEADS * WIDTH * T, s.token);
  }
  workgroupBarrier();   // no lane reads the last tiles any more
  put(&k, 0u, lane);
  put(&v, 1u, lane);
  workgroupBarrier();
}

// The own tokens times four others: the sum over the channels of the part.
fn products(own: ptr<function, Own>, at: u32) -> Four {
  var s: Four;
  for (var c = 0u; c < CHANNELS; c++) {
    let other = tile[at + c * CELLS];
    s.a += (*own)[c] * other.x;
    s.b += (*own)[c] * other.y;
    s.c += (*own)[c] * other.z;
    s.d += (*own)[c] * other.w;
  }
  return s;
}

// The sum over the parts, in a fixed order. All lanes of a pair get it.
fn joined(s: Four, lane: Lane) -> Four {
  if (PARTS == 1u) {
    return s;
  }
  let pair = lane.index % GROUP;
  partial[lane.index] = s.a;
  partial[LANES + lane.index] = s.b;
  partial[2u * LANES + lane.index] = s.c;
  partial[3u * LANES + lane.index] = s.d;
  workgroupBarrier();
  for (var i = lane.index / GROUP; i < 4u; i += PARTS) {
    var sum = partial[i * LANES + pair];
    for (var part = 1u; part < PARTS; part++) {
      sum += partial[i * LANES + part * GROUP + pair];
    }
    partial[i * LANES + pair] = sum;
  }
  workgroupBarrier();
  let total = Four(partial[pair], partial[LANES + pair], partial[2u * LANES + pair], partial[3u * LANES + pair]);
  workgroupBarrier();
  return total;
}

// sum += s * (four other tokens)
fn accumulate(sum: ptr<function, Own>, s: Four, at: u32) {
  for (var c = 0u; c < CHANNELS; c++) {
    let other = tile[at + c * CELLS];
    (*sum)[c] += s.a * other.x;
    (*sum)[c] += s.b * other.y;
    (*sum)[c] += s.c * other.z;
    (*sum)[c] += s.d * other.w;
  }
}

fn own_qkv(row: u32, p: Place) -> Own {
  var own: Own;
  for (var c = 0u; c < CHANNELS; c++) {
    let i = row + min(p.channel + c, WIDTH - 1u) * T + p.at;
    own[c] = select(Pair(), Pair(qkv1(i.x), qkv1(i.y)), in_head(p.channel + c));
  }
  return own;
}

// Scores in units of log 2. Keys that do not exist have the lowest.
fn scaled(s: Four, token: u32) -> Four {
  // The staged zeros of such a key make its sum 0.
  let add = select(vec4<f32>(LOWEST), vec4<f32>(), exist(token));
  return Four(s.a * SCALE + add.x, s.b * SCALE + add.y, s.c * SCALE + add.z, s.d * SCALE + add.w);
}

fn largest_of(s: Four) -> Pair {
  return max(max(s.a, s.b), max(s.c, s.d));
}

fn weights(s: Four, top: Pair) -> Four {
  return Four(exp2(s.a - top), exp2(s.b - top), exp2(s.c - top), exp2(s.d - top));
}

// Two cells at a time, so that the sums are multiplied half as often.
@compute @workgroup_size(LANES)
fn forward(lane: Lane) {
  let p = place(lane);
  var own = own_qkv(in_qkv(p.head, 0u), p);
  var sum: Own;
  var largest = Pair(LOWEST);
  var total = Pair();
  for (var base = 0u; base < T; base += 4u * CELLS) {
    stage_key_value(p.first, base, lane);
    for (var cell = 0u; cell < CELLS && base + 4u * cell < T; cell += 2u) {
      let k = p.block + cell;
      let v = k + SIDE;
      let token = base + 4u * cell;
      var s = scaled(joined(products(&own, k), lane), token);
      var s2 = scaled(joined(products(&own, k + 1u), lane), token + 4u);
      let top = max(largest, max(largest_of(s), largest_of(s2)));
      let kept = exp2(largest - top);
      largest = top;
      s = weights(s, top);
      s2 = weights(s2, top);
      total = total * kept + s.a + s.b + s.c + s.d + s2.a + s2.b + s2.c + s2.d;
      for (var c = 0u; c < CHANNELS; c++) {
        sum[c] *= kept;
      }
      accumulate(&sum, s, v);
      accumulate(&sum, s2, v + 1u);
    }
  }
  if (!p.live) {
    return;
  }
  let share = 1.0 / total;
  for (var i = 0u; i < 2u; i++) {
    if (p.tokens[i] < T) {
      for (var c = 0u; c < CHANNELS; c++) {
        if (in_head(p.channel + c)) {
          y[in_y(p.head) + (p.channel + c) * T + p.tokens[i]] = sum[c][i] * share[i];
        }
      }
      if (p.channel == 0u) {
        stats[p.head * 2u * T + p.tokens[i]] = largest[i];
        stats[p.head * 2u * T + T + p.tokens[i]] = share[i];
      }
    }
  }
}

@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> summary: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;
@group(0) @binding(5) var<storage, read> result: array<f32>;
@group(0) @binding(6) var<storage, read_write> summary_out: array<f32>;

fn own_dy(row: u32, p: Place) -> Own {
  var own: Own;
  for (var c = 0u; c < CHANNELS; c++) {
    let i = row + min(p.channel + c, WIDTH - 1u) * T + p.at;
    own[c] = select(Pair(), Pair(dy1(i.x), dy1(i.y)), in_head(p.channel + c));
  }
  return own;
}

fn store(row: u32, sum: ptr<function, Own>, factor: Pair, p: Place) {
  for (var i = 0u; i < 2u; i++) {
    for (var c = 0u; c < CHANNELS; c++) {
      if (p.live && p.tokens[i] < T && in_head(p.channel + c)) {
        let to = row + (p.channel + c) * T + p.tokens[i];
        let gradient = (*sum)[c][i] * factor[i];
        if (ADD) {
          dqkv[to] += gradient;
        } else {
          dqkv[to] = gradient;
        }
      }
    }
  }
}

@compute @workgroup_size(LANES)
fn backward_query(lane: Lane) {
  let p = place(lane);
  var own = own_qkv(in_qkv(p.head, 0u), p);
  var own_gradient = own_dy(in_y(p.head), p);
  var d = Pair();
  for (var c = 0u; c < CHANNELS; c++) {
    let i = in_y(p.head) + min(p.channel + c, WIDTH - 1u) * T + p.at;
    d += own_gradient[c] * Pair(result[i.x], result[i.y]);
  }
  d = joined(Four(d, d, d, d), lane).a;
  let i = p.head * 2u * T + p.at;
  let largest = Pair(saved[i.x], saved[i.y]);
  let share = Pair(saved[i.x + T], saved[i.y + T]);
  if (p.live && p.channel == 0u) {
    for (var i = 0u; i < 2u; i++) {
      if (p.tokens[i] < T) {
        let to = p.head * 3u * T + p.tokens[i];
        summary_out[to] = largest[i];
        summary_out[to + T] = share[i];
        summary_out[to + 2u * T] = d[i];
      }
    }
  }
  var sum: Own;
  for (var base = 0u; base < T; base += 4u * CELLS) {
    stage_key_value(p.first, base, lane);
    for (var cell = 0u; cell < CELLS && base + 4u * cell < T; cell++) {
      let k = p.block + cell;
      var s = joined(products(&own, k), lane);
      let dp = joined(products(&own_gradient, k + SIDE), lane);
      s = weights(Four(s.a * SCALE, s.b * SCALE, s.c * SCALE, s.d * SCALE), largest);
      s = Four(s.a * (dp.a - d), s.b * (dp.b - d), s.c * (dp.c - d), s.d * (dp.d - d));
      if (T % 4u != 0u) {
        let is_key = exist(base + 4u * cell);
        let none = Pair();
        s = Four(select(none, s.a, is_key.x), select(none, s.b, is_key.y),
                 select(none, s.c, is_key.z), select(none, s.d, is_key.w));
      }
      accumulate(&sum, s, k);
    }
  }
  store(in_qkv(p.head, 0u), &sum, share * (SCALE * LN_2), p);
}

// [slot][largest, share, delta][cell]
var<workgroup> about: array<vec4<f32>, ABOUT>;
override ABOUT = SLOTS * 3u * CELLS;

fn summary4(row: u32, token: u32) -> vec4<f32> {
  if (T % 4u == 0u) {
    return select(vec4<f32>(), summary[(row + min(token, T - 4u)) / 4u], token < T);
  }
  let i = row + min(token + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(T - 1u));
  let value = vec4<f32>(summary[i.x / 4u][i.x % 4u], summary[i.y / 4u][i.y % 4u],
                        summary[i.z / 4u][i.z % 4u], summary[i.w / 4u][i.w % 4u]);
  return select(vec4<f32>(), value, exist(token));
}

// Stages q, dy and the summary from token `base` on, for all slots. All are zero past the end, so
// the weight of a query that does not exist is 0.
fn stage_query(first: u32, base: u32, lane: Lane) {
  var q: Held;
  var g: Held;
  for (var n = 0u; n < ROUNDS; n++) {
    let s = source(min(lane.index + n * LANES, COUNT - 1u), first, base);
    let row = min(s.channel, WIDTH - 1u) * T;
    q[n] = qkv4(in_qkv(s.head, 0u) + row, s.token);
    g[n] = dy4(in_y(s.head) + row, s.token);
  }
  workgroupBarrier();
  put(&q, 0u, lane);
  put(&g, 1u, lane);
  for (var i = lane.index; i < ABOUT; i += LANES) {
    let head = min(first + i / (3u * CELLS), dims.all_heads - 1u);
    about[i] = summary4((head * 3u + i / CELLS % 3u) * T, base + i % CELLS * 4u);
  }
  workgroupBarrier();
}

// products(own, at), and sum += s * (the same others), with each of them read once.
fn products_and_sums(own: ptr<function, Own>, sum: ptr<function, Own>, s: Four, at: u32) -> Four {
  var product: Four;
  for (var c = 0u; c < CHANNELS; c++) {
    let other = tile[at + c * CELLS];
    product.a += (*own)[c] * other.x;
    product.b += (*own)[c] * other.y;
    product.c += (*own)[c] * other.z;
    product.d += (*own)[c] * other.w;
    (*sum)[c] += s.a * other.x;
    (*sum)[c] += s.b * other.y;
    (*sum)[c] += s.c * other.z;
    (*sum)[c] += s.d * other.w;
  }
  return product;
}

@compute @workgroup_size(LANES)
fn backward_key_value(lane: Lane) {
  let p = place(lane);
  var own = own_qkv(in_qkv(p.head, 1u), p);
  var own_v = own_qkv(in_qkv(p.head, 2u), p);
  var sum_k: Own;
  var sum_v: Own;
  for (var base = 0u; base < T; base += 4u * CELLS) {
    stage_query(p.first, base, lane);
    for (var cell = 0u; cell < CELLS && base + 4u * cell < T; cell++) {
      let q = p.block + cell;
      let g = q + SIDE;
      let row = (p.head - p.first) * 3u * CELLS + cell;
      let top = about[row];
      let share = about[row + CELLS];
      let d = about[row + 2u * CELLS];
      var s = joined(products(&own, q), lane);
      s.a = exp2(s.a * SCALE - top.x) * share.x;
      s.b = exp2(s.b * SCALE - top.y) * share.y;
      s.c = exp2(s.c * SCALE - top.z) * share.z;
      s.d = exp2(s.d * SCALE - top.w) * share.w;
      let dp = joined(products_and_sums(&own_v, &sum_v, s, g), lane);
      s = Four(s.a * (dp.a - d.x), s.b * (dp.b - d.y), s.c * (dp.c - d.z), s.d * (dp.d - d.w));
      accumulate(&sum_k, s, q);
    }
  }
  store(in_qkv(p.head, 1u), &sum_k, Pair(SCALE * LN_2), p);
  store(in_qkv(p.head, 2u), &sum_v, Pair(1.0), p);
}
