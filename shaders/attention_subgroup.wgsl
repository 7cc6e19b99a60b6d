// y = softmax(q k^T / sqrt(d)) v in each head: the subgroup variant, for software Vulkan.
//
// Backward, with p recomputed from stats and delta = rowsum(dy * y), which
// attention_untiled.wgsl computes:
//   dv = p^T dy;  ds = p * (dy v^T - delta);  dq = ds k / sqrt(d);  dk = ds^T q / sqrt(d)
//
// qkv, dqkv     [B, 3 I, T]: the channels of q, then those of k, then those of v. Head h has the
//               d = WIDTH channels from h d on in each of them. The tokens of a channel are
//               contiguous, so neighboring lanes load neighboring elements.
// y, dy         [B, I, T], with the same heads
// stats, saved  [B, heads, 2, T]: the largest score of each query in units of log 2, and the
//               reciprocal of the sum of exponentials relative to it. This is more accurate than the
//               logarithm of the sum. The T x T matrix is never stored (Dao 2023,
//               "FlashAttention-2").
// delta         [B, heads, T]
//
// One workgroup is one subgroup of L lanes. A lane owns OWN tokens (queries in `forward` and
// `backward_query`, keys in `backward_key_value`) and CHUNK channels of the result. Tokens of the
// other side come in tiles of L: each lane loads one and its values are broadcast, so one load
// serves 2 L multiply-adds. Two own tokens are a quarter faster than one; four are no faster. The
// first CHUNK channels of the own tokens stay in registers. In wider heads the other channels are
// loaded again, and each chunk of the result computes the scores again.
// Grid: (T / (OWN L), heads * chunks, B).
// FLOPs 4 T^2 I B forward, 6 T^2 I B for dq, 4 T^2 I B for dk and dv, without what is computed again:
// the scores and dp for dk and dv, and all scores in each chunk. Bytes: each workgroup reads k and v
// (or q and dy) of its head once, thus 8 T^2 I B / (OWN L).

override T: u32;
override HEADS: u32;
override WIDTH: u32;
// log2(e) / sqrt(d), so that scores are in units of log 2. All kernels scale q, so a score has the
// same bits in all of them.
override SCALE: f32;
override ADD: bool;

const CHUNK = 8u;           // channels of the result of a lane
const OWN = 2u;             // tokens of a lane
alias Own = vec2<f32>;
const LOWEST = -1e38;       // score of a key that does not exist

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;

struct Position {
  token: u32,     // the lane's first token, maybe past the end; the others are L further on
  at: vec2<u32>,  // the lane's tokens; the last token instead of one past the end
  head: u32,      // numbered through the batch
  q: u32,         // index of the head's first element of q, in qkv and dqkv
  k: u32,
  v: u32,
  y: u32,         // the same in y and dy
  first: u32,     // first channel of the chunk
}

fn place(lane: Lane) -> Position {
  let chunks = (WIDTH + CHUNK - 1u) / CHUNK;
  let token = lane.workgroup.x * OWN * L + lane.index;
  let at = min(token + L * vec2<u32>(0u, 1u), vec2<u32>(T - 1u));
  let head = lane.workgroup.z * HEADS + lane.workgroup.y / chunks;
  let size = WIDTH * T;
  let y = head * size;
  let q = y + 2u * lane.workgroup.z * HEADS * size;
  let k = q + HEADS * size;
  let v = k + HEADS * size;
  return Position(token, at, head, q, k, v, y, lane.workgroup.y % chunks * CHUNK);
}

fn own_qkv(row: u32, p: Position) -> Own {
  return Own(qkv[row + p.at.x], qkv[row + p.at.y]);
}

fn own_dy(row: u32, p: Position) -> Own {
  return Own(dy[row + p.at.x], dy[row + p.at.y]);
}

// sum[l] += own * (value of lane l)
fn accumulate(sum: ptr<function, array<Own, L>>, own: Own, value: f32) {
  for (var l = 0u; l < L; l++) {
    (*sum)[l] += own * subgroupShuffle(value, l);
  }
}

// Sum over l of weight[l] * (value of lane l).
fn weighted(weight: ptr<function, array<Own, L>>, value: f32) -> Own {
  var sum = Own();
  for (var l = 0u; l < L; l++) {
    sum += (*weight)[l] * subgroupShuffle(value, l);
  }
  return sum;
}

fn in_head(channel: u32) -> bool {
  return WIDTH % CHUNK == 0u || channel < WIDTH;
}

// Offset in the head of channel c of the chunk, or of the head's last channel if the chunk is wider
// than the head. A branch would do, but compilers assume that the chunk's number differs between
// lanes and reject subgroup functions in such a branch.
fn channel_row(p: Position, c: u32) -> u32 {
  return select(min(p.first + c, WIDTH - 1u), p.first + c, WIDTH % CHUNK == 0u) * T;
}

fn exists(token: u32) -> bool {
  return T % L == 0u || token < T;
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let p = place(lane);
  var mine: array<Own, CHUNK>;
  var sum: array<Own, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      mine[c] = own_qkv(p.q + c * T, p) * SCALE;
    }
  }
  var largest = Own(LOWEST);
  var total = Own();
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<Own, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        accumulate(&s, mine[c], qkv[p.k + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      accumulate(&s, own_qkv(p.q + c * T, p) * SCALE, qkv[p.k + c * T + other]);
    }
    var top = largest;
    for (var l = 0u; l < L; l++) {
      s[l] = select(Own(LOWEST), s[l], exists(j + l));
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
      if (c < WIDTH) {
        sum[c] = sum[c] * kept + weighted(&s, qkv[p.v + channel_row(p, c) + other]);
      }
    }
  }
  let share = 1.0 / total;
  for (var i = 0u; i < OWN; i++) {
    let token = p.token + i * L;
    if (token < T) {
      for (var c = 0u; c < CHUNK; c++) {
        if (in_head(p.first + c)) {
          y[p.y + (p.first + c) * T + token] = sum[c][i] * share[i];
        }
      }
      if (p.first == 0u) {
        stats[p.head * 2u * T + token] = largest[i];
        stats[p.head * 2u * T + T + token] = share[i];
      }
    }
  }
}

@group(0) @binding(1) var<storage, read> saved: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> delta: array<f32>;
@group(0) @binding(4) var<storage, read_write> dqkv: array<f32>;

@compute @workgroup_size(WG)
fn backward_query(lane: Lane) {
  let p = place(lane);
  var mine: array<Own, CHUNK>;
  var mine_dy: array<Own, CHUNK>;
  var sum: array<Own, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      mine[c] = own_qkv(p.q + c * T, p) * SCALE;
      mine_dy[c] = own_dy(p.y + c * T, p);
    }
  }
  let largest = Own(saved[p.head * 2u * T + p.at.x], saved[p.head * 2u * T + p.at.y]);
  let share = Own(saved[p.head * 2u * T + T + p.at.x], saved[p.head * 2u * T + T + p.at.y]);
  let own_delta = Own(delta[p.head * T + p.at.x], delta[p.head * T + p.at.y]);
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<Own, L>;
    var dp: array<Own, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        accumulate(&s, mine[c], qkv[p.k + c * T + other]);
        accumulate(&dp, mine_dy[c], qkv[p.v + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      accumulate(&s, own_qkv(p.q + c * T, p) * SCALE, qkv[p.k + c * T + other]);
      accumulate(&dp, own_dy(p.y + c * T, p), qkv[p.v + c * T + other]);
    }
    for (var l = 0u; l < L; l++) {
      s[l] = select(Own(), exp2(s[l] - largest) * (dp[l] - own_delta), exists(j + l));
    }
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        sum[c] += weighted(&s, qkv[p.k + channel_row(p, c) + other]);
      }
    }
  }
  for (var i = 0u; i < OWN; i++) {
    let token = p.token + i * L;
    if (token < T) {
      for (var c = 0u; c < CHUNK; c++) {
        if (in_head(p.first + c)) {
          let to = p.q + (p.first + c) * T + token;
          let gradient = sum[c][i] * share[i] * SCALE * LN_2;
          if (ADD) {
            dqkv[to] += gradient;
          } else {
            dqkv[to] = gradient;
          }
        }
      }
    }
  }
}

const LN_2 = 0.6931471805599453;   // SCALE * LN_2 = 1 / sqrt(d)

@compute @workgroup_size(WG)
fn backward_key_value(lane: Lane) {
  let p = place(lane);
  var mine: array<Own, CHUNK>;
  var mine_v: array<Own, CHUNK>;
  var sum_k: array<Own, CHUNK>;
  var sum_v: array<Own, CHUNK>;
  for (var c = 0u; c < CHUNK; c++) {
    if (c < WIDTH) {
      mine[c] = own_qkv(p.k + c * T, p);
      mine_v[c] = own_qkv(p.v + c * T, p);
    }
  }
  for (var j = 0u; j < T; j += L) {
    let other = min(j + lane.index, T - 1u);
    var s: array<Own, L>;
    var ds: array<Own, L>;
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        accumulate(&s, mine[c], qkv[p.q + c * T + other] * SCALE);
        accumulate(&ds, mine_v[c], dy[p.y + c * T + other]);
      }
    }
    for (var c = CHUNK; c < WIDTH; c++) {
      accumulate(&s, own_qkv(p.k + c * T, p), qkv[p.q + c * T + other] * SCALE);
      accumulate(&ds, own_qkv(p.v + c * T, p), dy[p.y + c * T + other]);
    }
    let largest = saved[p.head * 2u * T + other];
    let share = saved[p.head * 2u * T + T + other];
    let its_delta = delta[p.head * T + other];
    for (var l = 0u; l < L; l++) {
      let weight = exp2(s[l] - subgroupShuffle(largest, l)) * subgroupShuffle(share, l);
      s[l] = select(Own(), weight, exists(j + l));
      ds[l] = s[l] * (ds[l] - subgroupShuffle(its_delta, l));
    }
    for (var c = 0u; c < CHUNK; c++) {
      if (c < WIDTH) {
        sum_v[c] += weighted(&s, dy[p.y + channel_row(p, c) + other]);
        sum_k[c] += weighted(&ds, qkv[p.q + channel_row(p, c) + other]);
      }
    }
  }
  for (var i = 0u; i < OWN; i++) {
    let token = p.token + i * L;
    if (token < T) {
      for (var c = 0u; c < CHUNK; c++) {
        if (in_head(p.first + c)) {
          let to_k = p.k + (p.first + c) * T + token;
          let to_v = p.v + (p.first + c) * T + token;
          let gradient = sum_k[c][i] * SCALE * LN_2;
          if (ADD) {
            dqkv[to_k] += gradient;
            dqkv[to_v] += sum_v[c][i];
          } else {
            dqkv[to_k] = gradient;
            dqkv[to_v] = sum_v[c][i];
          }
        }
      }
    }
  }
}
