// Importance sampling of time steps by the second moment of their losses (Nichol and Dhariwal 2021, section 3.3, eq. 18):
//   p_t = (1 - 0.001) r_t / (sum of r) + 0.001 / T,  r_t = root of the sum of squares of the last ten losses of t
// and p_t = 1 / T as long as some t has fewer than ten, or all r are zero.
// losses [B]; t u32 [B]; history [T, 10], count [T], weights [T], cdf [T] updated in place; roots [T] scratch, negative for fewer than ten.
//   append   history, a ring of ten for each t, and count, 0 to 19: the place of the next loss is count mod 10, and from 10 on all are filled.
//            The images are taken in their order. A loss that is not finite, or above 1e18, is left out: it would stay for ten draws.
//            One invocation a time step, each of which reads all of t.
//   forward  weights = 1 / (T p) and cdf = p_0 + ... + p_t. One workgroup; a lane sums a run of time steps, then the
//            lanes' sums are added in their order, so the sums are the same in every run, and cdf never falls.
// FLOPs about T (B + 30); bytes 60 T.

override BATCH: u32;       // B
override TIMESTEPS: u32;   // T

const HISTORY_LENGTH = 10u;    // losses kept per timestep
const UNIFORM = 0.001;
const LARGEST = 0x5d5e0b6bu;   // bits of 1e18, whose square is finite

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
