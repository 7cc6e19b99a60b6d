// y = softmax(q k^T / sqrt(d)) v in each head: for the tiled variant, without workgroup memory. It does
// heads of any width; attention.wgsl is for heads of up to 128 channels.
//
// Backward, with p recomputed from stats and delta = rowsum(dy * y):
//   dv = p^T dy;  ds = p * (dy v^T - delta);  dq = ds k / sqrt(d);  dk = ds^T q / sqrt(d)
//
// qkv, dqkv         [B, 3 I, T]: the channels of q, then those of k, then those of v. Head h has the
//                   d = WIDTH channels from h d on in each of them. The tokens of a channel are
//                   contiguous, so neighboring lanes load neighboring elements.
// y, dy             [B, I, T], with the same heads
// stats, saved      [B, heads, 2, T]: the largest score of each query in units of log 2, and the
//                   reciprocal of the sum of exponentials relative to it. This is more accurate than
//                   the logarithm of the sum. The T x T matrix is never stored (Dao 2023,
//                   "FlashAttention-2").
// result, dresult   y and dy, in backward_delta
// delta, delta_out  [B, heads, T]
//
// A lane owns one token (a query in `forward` and `backward_query`, a key in `backward_key_value`)
// and CHUNK channels of the result. It reads the tokens of the other side four at a time. All lanes
// read the same four, so the cache serves them. The first CHUNK channels of the own token stay in
// registers. In wider heads the other channels are loaded again, and each chunk of the result
// computes the scores again. Grid: (T / GROUP, heads * chunks, B).
// backward_delta: one invocation per query.
// FLOPs 4 T^2 I B forward, 6 T^2 I B for dq, 4 T^2 I B for dk and dv, without what is computed again:
// the scores and dp for dk and dv, and all scores in each chunk. Bytes: each workgroup reads k and v
// (or q and dy) of its head once, thus 8 T^2 I B / GROUP.

override T: u32;
override HEADS: u32;
override WIDTH: u32;
// log2(e) / sqrt(d), so that scores are in units of log 2. All kernels multiply the sum over the
// channels by it, so a score has the same bits in all of them.
override SCALE: f32;
override ADD: bool;

const GROUP = 64u;          // tokens of a workgroup
const CHUNK = 8u;           // channels of the result of an invocation
const LOWEST = -1e38;       // score of a key that does not exist

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

struct Position {
  token: u32,     // may be past the end
  clamped: u32,   // the same, or the last token
  head: u32,      // numbered through the batch
  q: u32,         // index of the head's first element of q, in qkv and dqkv
  k: u32,
  v: u32,
  y: u32,         // the same in y and dy
  first: u32,     // first channel of the chunk
}

fn place(lane: Lane) -> Position {
  let chunks = (WIDTH + CHUNK - 1u) / CHUNK;
  let token = lane.workgroup.x * GROUP + lane.index;
  let head = lane.workgroup.z * HEADS + lane.workgroup.y / chunks;
  let size = WIDTH * T;
  let y = head * size;
  let q = y + 2u * lane.workgroup.z * HEADS * size;
  let k = q + HEADS * size;
  let v = k + HEADS * size;
  return Position(token, min(token, T - 1u), head, q, k, v, y, lane.workgroup.y % chunks * CHUNK);
}

// Four tokens of the other side from j on. Past the end the last token is repeated.
fn four(j: u32) -> vec4<u32> {
  return min(vec4<u32>(j, j + 1u, j + 2u, j + 3u), vec4<u32>(T - 1u));
}

fn qkv4(row: u32, o: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(qkv[row + o.x], qkv[row + o.y], qkv[row + o.z], qkv[row + o.w]);
}

fn dy4(row: u32, o: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(dy[row + o.x], dy[row + o.y], dy[row + o.z], dy[row + o.w]);
}

fn in_head(channel: u32) -> bool {
  return WIDTH % CHUNK == 0u || channel < WIDTH;
}

// Whether the four tokens from j on exist.
fn exist(j: u32) -> vec4<bool> {
  return vec4<u32>(j, j + 1u, j + 2u, j + 3u) < vec4<u32>(T);
}

@compute @workgroup_size(GROUP)
fn forward(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var sum: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = qkv[p.q + c * T + p.clamped];
    }
  }
  var largest = LOWEST;
  var total = 0.0;
  for (var j = 0u; j < T; j += 4u) {
    let other = four(j);
    var s: vec4<f32>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        s += own[c] * qkv4(p.k + c * T, other);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      s += qkv[p.q + c * T + p.clamped] * qkv4(p.k + c * T, other);
    }
    s = select(vec4<f32>(LOWEST), s * SCALE, exist(j));
    let top = max(max(largest, max(s.x, s.y)), max(s.z, s.w));
    let kept = exp2(largest - top);
    largest = top;
    s = exp2(s - top);
    total = total * kept + s.x + s.y + s.z + s.w;
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum[c] = sum[c] * kept + dot(s, qkv4(p.v + (p.first + c) * T, other));
      }
    }
  }
  let share = 1.0 / total;
  if (p.token < T) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        y[p.y + (p.first + c) * T + p.token] = sum[c] * share;
      }
    }
    if (p.first == 0u) {
      stats[p.head * 2u * T + p.token] = largest;
      stats[p.head * 2u * T + T + p.token] = share;
    }
  }
}

@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;

@compute @workgroup_size(GROUP)
fn backward_query(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var own_dy: array<f32, CHUNK>;
  var sum: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = qkv[p.q + c * T + p.clamped];
      own_dy[c] = dy[p.y + c * T + p.clamped];
    }
  }
  let largest = saved[p.head * 2u * T + p.clamped];
  let share = saved[p.head * 2u * T + T + p.clamped];
  let own_delta = delta[p.head * T + p.clamped];
  for (var j = 0u; j < T; j += 4u) {
    let other = four(j);
    var s: vec4<f32>;
    var dp: vec4<f32>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        s += own[c] * qkv4(p.k + c * T, other);
        dp += own_dy[c] * qkv4(p.v + c * T, other);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      s += qkv[p.q + c * T + p.clamped] * qkv4(p.k + c * T, other);
      dp += dy[p.y + c * T + p.clamped] * qkv4(p.v + c * T, other);
    }
    s = select(vec4<f32>(), exp2(s * SCALE - largest) * (dp - own_delta), exist(j));
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum[c] += dot(s, qkv4(p.k + (p.first + c) * T, other));
      }
    }
  }
  if (p.token < T) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        let to = p.q + (p.first + c) * T + p.token;
        let gradient = sum[c] * share * SCALE * LN_2;
        if (ADD) {
          dqkv[to] += gradient;
        } else {
          dqkv[to] = gradient;
        }
      }
    }
  }
}

fn stat4(row: u32, o: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(saved[row + o.x], saved[row + o.y], saved[row + o.z], saved[row + o.w]);
}

fn delta4(row: u32, o: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(delta[row + o.x], delta[row + o.y], delta[row + o.z], delta[row + o.w]);
}

const LN_2 = 0.6931471805599453;   // SCALE * LN_2 = 1 / sqrt(d)

@compute @workgroup_size(GROUP)
fn backward_key_value(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var own_v: array<f32, CHUNK>;
  var sum_k: array<f32, CHUNK>;
  var sum_v: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = qkv[p.k + c * T + p.clamped];
      own_v[c] = qkv[p.v + c * T + p.clamped];
    }
  }
  for (var j = 0u; j < T; j += 4u) {
    let other = four(j);
    var s: vec4<f32>;
    var ds: vec4<f32>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        s += own[c] * qkv4(p.q + c * T, other);
        ds += own_v[c] * dy4(p.y + c * T, other);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      s += qkv[p.k + c * T + p.clamped] * qkv4(p.q + c * T, other);
      ds += qkv[p.v + c * T + p.clamped] * dy4(p.y + c * T, other);
    }
    let weights = exp2(s * SCALE - stat4(p.head * 2u * T, other)) * stat4(p.head * 2u * T + T, other);
    s = select(vec4<f32>(), weights, exist(j));
    ds = s * (ds - delta4(p.head * T, other));
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum_v[c] += dot(s, dy4(p.y + (p.first + c) * T, other));
        sum_k[c] += dot(ds, qkv4(p.q + (p.first + c) * T, other));
      }
    }
  }
  if (p.token < T) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        let to_k = p.k + (p.first + c) * T + p.token;
        let to_v = p.v + (p.first + c) * T + p.token;
        let gradient = sum_k[c] * SCALE * LN_2;
        if (ADD) {
          dqkv[to_k] += gradient;
          dqkv[to_v] += sum_v[c];
        } else {
          dqkv[to_k] = gradient;
          dqkv[to_v] = sum_v[c];
        }
      }
    }
  }
}

struct Dims {
  length: u32,    // B * heads * T
}

@group(0) @binding(0) var<storage, read> result: array<f32>;
@group(0) @binding(1) var<storage, read> dresult: array<f32>;
@group(0) @binding(2) var<storage, read_write> delta_out: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

// delta = rowsum(dy * y). Both variants use it.
@compute @workgroup_size(FLAT)
fn backward_delta(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let source = i / T * WIDTH * T + i % T;
    var sum = 0.0;
    for (var c = 0u; c < WIDTH; c++) {
      sum += dresult[source + c * T] * result[source + c * T];
    }
    delta_out[i] = sum;
  }
}
