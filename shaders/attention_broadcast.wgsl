// y = softmax(q k^T / sqrt(d)) v in each head: the form for software Vulkan (one subgroup of L lanes, no barriers).
// q, k, v, y [B, I, T]; head h owns the d = WIDTH channels from h d; tokens lie side by side, so lanes load neighbours.
// stats [B, heads, 2, T] holds the largest score of each query, in units of log 2, and the reciprocal of the sum of the exponentials
// relative to it: more exact than their logarithm. The T x T matrix is never stored (Dao 2023, "FlashAttention-2").
//
// A lane owns one token (a query in `forward` and `backward_query`, a key in `backward_key_value`) and CHUNK channels of the result. Tokens
// of the other side come in tiles of L: each lane loads one and its values are broadcast, one load for L multiply-adds. The first
// CHUNK channels of the own token stay in registers, the rest (wide heads) is loaded again, and for each chunk of the result the scores are
// computed again. Grid (T / L, heads * chunks, B).
// FLOPs 4 T^2 I B forward, 6 for dq, 8 for dk and dv (d <= CHUNK); bytes 4 (L + 1) / L of q, k, v for each tile.
//
// Backward, with p recomputed from stats and delta = rowsum(dy * y):   dv = p^T dy   ds = p * (dy v^T - delta)   dq = ds k   dk = ds^T q

override T: u32;
override HEADS: u32;
override WIDTH: u32;
override SCALE: f32;        // log2(e) / sqrt(d): scores are in units of log 2
override ADD: bool;

const CHUNK = 8u;
const LOWEST = -1e38;       // score of a key that does not exist

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;

struct Place {
  token: u32,     // may lie past the end
  clamped: u32,
  head: u32,      // counted over the batch
  base: u32,      // of the head's channels
  first: u32,     // channel of the chunk
}

fn place(lane: Lane) -> Place {
  let chunks = (WIDTH + CHUNK - 1u) / CHUNK;
  let token = lane.workgroup.x * L + lane.index;
  let head = lane.workgroup.z * HEADS + lane.workgroup.y / chunks;
  return Place(token, min(token, T - 1u), head, head * WIDTH * T, lane.workgroup.y % chunks * CHUNK);
}

// sum += own * (the value of each lane)
fn outer(sum: ptr<function, array<f32, L>>, own: f32, value: f32) {
  for (var l = 0u; l < L; l++) {
    (*sum)[l] += own * subgroupShuffle(value, l);
  }
}

// The sum over the lanes of weight times their value.
fn weighted(weight: ptr<function, array<f32, L>>, value: f32) -> f32 {
  var sum = 0.0;
  for (var l = 0u; l < L; l++) {
    sum += (*weight)[l] * subgroupShuffle(value, l);
  }
  return sum;
}

fn in_head(channel: u32) -> bool {
  return WIDTH % CHUNK == 0u || channel < WIDTH;
}

fn exists(token: u32) -> bool {
  return T % L == 0u || token < T;
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var sum: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = q[p.base + c * T + p.clamped] * SCALE;
    }
  }
  var largest = LOWEST;
  var total = 0.0;
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<f32, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        outer(&s, own[c], k[p.base + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      outer(&s, q[p.base + c * T + p.clamped] * SCALE, k[p.base + c * T + other]);
    }
    var top = largest;
    for (var l = 0u; l < L; l++) {
      s[l] = select(LOWEST, s[l], exists(j + l));
      top = max(top, s[l]);
    }
    let kept = exp2(largest - top);
    largest = top;
    total *= kept;
    for (var l = 0u; l < L; l++) {
      s[l] = exp2(s[l] - top);
      total += s[l];
    }
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum[c] = sum[c] * kept + weighted(&s, v[p.base + (p.first + c) * T + other]);
      }
    }
  }
  let share = 1.0 / total;
  if (exists(p.token)) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        y[p.base + (p.first + c) * T + p.token] = sum[c] * share;
      }
    }
    if (p.first == 0u) {
      stats[p.head * 2u * T + p.token] = largest;
      stats[p.head * 2u * T + T + p.token] = share;
    }
  }
}

@group(0) @binding(3) var<storage, read> saved: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dq: array<f32>;

@compute @workgroup_size(WG)
fn backward_query(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var own_dy: array<f32, CHUNK>;
  var sum: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = q[p.base + c * T + p.clamped] * SCALE;
      own_dy[c] = dy[p.base + c * T + p.clamped];
    }
  }
  let largest = saved[p.head * 2u * T + p.clamped];
  let share = saved[p.head * 2u * T + T + p.clamped];
  let own_delta = delta[p.head * T + p.clamped];
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<f32, L>;
    var dp: array<f32, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        outer(&s, own[c], k[p.base + c * T + other]);
        outer(&dp, own_dy[c], v[p.base + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      outer(&s, q[p.base + c * T + p.clamped] * SCALE, k[p.base + c * T + other]);
      outer(&dp, dy[p.base + c * T + p.clamped], v[p.base + c * T + other]);
    }
    for (var l = 0u; l < L; l++) {
      s[l] = select(0.0, exp2(s[l] - largest) * (dp[l] - own_delta), exists(j + l));
    }
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum[c] += weighted(&s, k[p.base + (p.first + c) * T + other]);
      }
    }
  }
  if (exists(p.token)) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        let to = p.base + (p.first + c) * T + p.token;
        let gradient = sum[c] * share * SCALE * LN_2;
        if (ADD) {
          dq[to] += gradient;
        } else {
          dq[to] = gradient;
        }
      }
    }
  }
}

const LN_2 = 0.6931471805599453;   // SCALE * LN_2 = 1 / sqrt(d)

@group(0) @binding(6) var<storage, read_write> dk: array<f32>;
@group(0) @binding(7) var<storage, read_write> dv: array<f32>;

@compute @workgroup_size(WG)
fn backward_key_value(lane: Lane) {
  let p = place(lane);
  var own: array<f32, CHUNK>;
  var own_v: array<f32, CHUNK>;
  var sum_k: array<f32, CHUNK>;
  var sum_v: array<f32, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      own[c] = k[p.base + c * T + p.clamped] * SCALE;
      own_v[c] = v[p.base + c * T + p.clamped];
    }
  }
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<f32, L>;
    var ds: array<f32, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        outer(&s, own[c], q[p.base + c * T + other]);
        outer(&ds, own_v[c], dy[p.base + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      outer(&s, k[p.base + c * T + p.clamped] * SCALE, q[p.base + c * T + other]);
      outer(&ds, v[p.base + c * T + p.clamped], dy[p.base + c * T + other]);
    }
    let largest = saved[p.head * 2u * T + other];
    let share = saved[p.head * 2u * T + T + other];
    let its_delta = delta[p.head * T + other];
    for (var l = 0u; l < L; l++) {
      let weight = exp2(s[l] - subgroupShuffle(largest, l)) * subgroupShuffle(share, l);
      s[l] = select(0.0, weight, exists(j + l));
      ds[l] = s[l] * (ds[l] - subgroupShuffle(its_delta, l));
    }
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        sum_v[c] += weighted(&s, dy[p.base + (p.first + c) * T + other]);
        sum_k[c] += weighted(&ds, q[p.base + (p.first + c) * T + other]);
      }
    }
  }
  if (exists(p.token)) {
    for (var c = 0u; c < CHUNK; c++) {
      if (in_head(p.first + c)) {
        let to = p.base + (p.first + c) * T + p.token;
        let gradient = sum_k[c] * SCALE * LN_2;
        if (ADD) {
          dk[to] += gradient;
          dv[to] += sum_v[c];
        } else {
          dk[to] = gradient;
          dv[to] = sum_v[c];
        }
      }
    }
  }
}
