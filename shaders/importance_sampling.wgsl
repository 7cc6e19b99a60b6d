// Importance sampling of timesteps by the second moment of their losses (Nichol and Dhariwal 2021,
// section 3.3, eq. 18):
//   p_t = (1 - 0.001) r_t / (sum of r) + 0.001 / T
//   r_t = sqrt(sum of squares of the last 10 losses of t)
// p_t = 1 / T while some t has fewer than 10 losses, or if all r are zero.
//
//   append   updates history, count and roots. Losses are taken in the order of the batch. A loss
//            that is not finite or exceeds 1e18 is left out, because it would stay for 10 draws.
//   forward  weights = 1 / (T p) and cdf = p_0 + ... + p_t
//
// losses   [B]
// t        [B] u32
// history  [T, HISTORY_LENGTH], updated in place: a ring of losses for each timestep
// count    [T], updated in place, 0 to 19: the next loss goes to position count mod 10, and from 10
//          on all positions hold a loss
// roots, r [T]: r, or -1 for timesteps with fewer than 10 losses
// weights  [T]
// cdf      [T]
// append: one invocation per timestep, and each reads all of t. forward: one workgroup. A lane sums
// consecutive timesteps, then the sums of the lanes are added in order. So every run gives the same
// bits, and cdf never decreases.
// FLOPs about T (B + 30); bytes 60 T.

override BATCH: u32;       // B
override TIMESTEPS: u32;   // T

const HISTORY_LENGTH = 10u;    // losses kept of each timestep
const UNIFORM = 0.001;         // share of the uniform distribution
const LARGEST = 0x5d5e0b6bu;   // bits of 1e18, the square of which is finite

@group(0) @binding(0) var<storage, read> losses: array<f32>;
@group(0) @binding(1) var<storage, read> t: array<u32>;
@group(0) @binding(2) var<storage, read_write> history: array<f32>;
@group(0) @binding(3) var<storage, read_write> count: array<f32>;
@group(0) @binding(4) var<storage, read_write> roots: array<f32>;

@compute @workgroup_size(FLAT)
fn append(lane: Lane) {
  let k = flat_index(lane);
  if (k >= TIMESTEPS) {
    return;
  }
  var n = count[k];
  for (var b = 0u; b < BATCH; b++) {
    if (t[b] == k && (bitcast<u32>(losses[b]) & 0x7fffffffu) <= LARGEST) {
      history[k * HISTORY_LENGTH + u32(n) % HISTORY_LENGTH] = losses[b];
      n += 1.0;
      if (n >= f32(2u * HISTORY_LENGTH)) {
        n -= f32(HISTORY_LENGTH);
      }
    }
  }
  count[k] = n;
  var root = -1.0;
  if (n >= f32(HISTORY_LENGTH)) {
    var squares = 0.0;
    for (var i = 0u; i < HISTORY_LENGTH; i++) {
      let loss = history[k * HISTORY_LENGTH + i];
      squares += loss * loss;
    }
    root = sqrt(squares);
  }
  roots[k] = root;
}

@group(0) @binding(0) var<storage, read> r: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> cdf: array<f32>;

var<workgroup> sums: array<f32, WG>;

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let share = (TIMESTEPS + WG - 1u) / WG;
  let first = lane.index * share;
  let end = min(first + share, TIMESTEPS);
  var sum = 0.0;
  var missing = 0.0;
  for (var i = first; i < end; i++) {
    sum += r[i];
    missing += select(0.0, 1.0, r[i] < 0.0);
  }
  sums[lane.index] = sum;
  let incomplete = workgroup_sum(missing, lane);
  workgroupBarrier();
  var before: f32;
  var total = 0.0;
  for (var other = 0u; other < WG; other++) {
    if (other == lane.index) {
      before = total;
    }
    total += sums[other];
  }
  let measured = incomplete == 0.0 && total != 0.0;
  sum = 0.0;
  for (var i = first; i < end; i++) {
    sum += r[i];
    let even = f32(i + 1u) / f32(TIMESTEPS);
    var weight = 1.0;
    var reached = even;
    if (measured) {
      weight = 1.0 / (UNIFORM + (1.0 - UNIFORM) * f32(TIMESTEPS) * (r[i] / total));
      reached = UNIFORM * even + (1.0 - UNIFORM) * ((before + sum) / total);
    }
    weights[i] = weight;
    cdf[i] = reached;
  }
}
