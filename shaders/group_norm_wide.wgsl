// y = act((x - mean) * rstd * w + b): group_norm.wgsl with elements of 64 bits, which reads x and
// dy once. The formulas are those of group_norm.wgsl. An element has 8 numbers, and a row
// of a group is a multiple of 8 numbers: one channel if HW is a multiple of 8, and two channels if
// HW is an odd multiple of 4 and d = C / norm_groups is even.
//
// x, y, dy, dx  [B, C, HW], n elements
// w, b          [C]
// stats, saved  [B, norm_groups, 2] = (mean - k, rstd), where k is the first element of the group
// sums          [B, C, 2], which row_sums.wgsl adds
//
// One workgroup does one group of one image. SPAN lanes, which are one or more subgroups, share a
// row, and each lane keeps SLOTS elements of it. A software driver spends most of the time on loads
// and stores. It keeps values at little cost in separate variables that no loop carries, so it must
// unroll every loop over slots. The prelude (outer_subgroup.wgsl) says when.
// Sums over subgroups go through workgroup memory, in a fixed order.
// FLOPs about 11 n forward, 21 n backward. Bytes 8 n forward, 12 n backward.

override EPS: f32;
override SILU: bool;
override SLOTS: u32;   // at most 8
override SPAN: u32;    // lanes per row, a multiple of L
override LANES: u32;   // lanes of a workgroup: SPAN times the rows of a group
override ADD: bool;
override ROWS: u32 = LANES / SPAN;                  // rows of a group
override SUBGROUPS: u32 = LANES / L;
override PARTS: u32 = (SUBGROUPS + L - 1u) / L;     // sums of subgroups that a lane reads

struct Dims {
  blocks: u32,          // B norm_groups
  norm_groups: u32,
  cells: u32,           // elements of a row, at most SPAN SLOTS
  row_channels: u32,    // channels of a row: 1 or 2
  channel_cells: u32,   // half elements of a channel: HW / 4
}

@group(0) @binding(0) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

// The even and the odd numbers of each slot.
struct Slots {
  p: array<vec4<f32>, 8>,
  q: array<vec4<f32>, 8>,
}

// Where the lane's elements are.
struct Place {
  live: bool,
  group: u32,
  first: u32,           // first element of the group
  row: u32,             // first element of the row
  column: u32,          // the lane's first element, relative to the row
  cells: u32,
  channel: u32,         // first channel of the row
  channel_cells: u32,
}

fn place(lane: Lane) -> Place {
  let group = min(workgroup_index(lane), dims.blocks - 1u);
  let r = lane.index / SPAN;
  let first = group * ROWS * dims.cells;
  return Place(
    workgroup_index(lane) < dims.blocks,
    group,
    first,
    first + r * dims.cells,
    lane.index % SPAN,
    dims.cells,
    (group % dims.norm_groups * ROWS + r) * dims.row_channels,
    dims.channel_cells,
  );
}

// The value of w or b for the channel of each half of element i of a row. `pair` has those of the
// two channels of the row.
fn spread(pair: vec2<f32>, i: u32, channel_cells: u32) -> vec4<f32> {
  return select(pair.xx, pair.yy, vec2<u32>(2u * i, 2u * i + 1u) >= vec2<u32>(channel_cells)).xxyy;
}

// w and b of the channels of the row. A load in two lanes costs less than one in all lanes.
fn row_parameters(at: Place, lane: Lane) -> vec4<f32> {
  var own = vec2<f32>();
  if (lane.index % L < 2u) {
    let channel = at.channel + lane.index % L * (dims.row_channels - 1u);
    own = vec2<f32>(w[channel], b[channel]);
  }
  return vec4<f32>(
    subgroupShuffle(own.x, 0u),
    subgroupShuffle(own.x, 1u),
    subgroupShuffle(own.y, 0u),
    subgroupShuffle(own.y, 1u),
  );
}

// k
fn origin(at: Place, lane: Lane) -> vec4<f32> {
  var own = 0.0;
  if (lane.index % L == 0u) {
    own = even(x[at.first]).x;
  }
  return vec4<f32>(subgroupShuffle(own, 0u));
}

// Sums of the subgroups.
var<workgroup> partial: array<vec4<f32>, SUBGROUPS>;
var<workgroup> weighted: array<vec2<f32>, SUBGROUPS>;

// Sums over the subgroup, which all lanes get. On a software driver subgroupAdd takes longer.
fn lane_sum(value: f32) -> f32 {
  var sum = value;
  for (var width = 1u; width < L; width = 2u * width) {
    sum += subgroupShuffleXor(sum, width);
  }
  return sum;
}

fn lane_sum4(value: vec4<f32>) -> vec4<f32> {
  var sum = value;
  for (var width = 1u; width < L; width = 2u * width) {
    sum += subgroupShuffleXor(sum, width);
  }
  return sum;
}

// 1 / (1 + e^-z)
fn sigmoid4(z: vec4<f32>) -> vec4<f32> {
  return 1.0 / (1.0 + exp(-z));
}

fn act(z: vec4<f32>) -> vec4<f32> {
  if (SILU) {
    return z * sigmoid4(z);
  }
  return z;
}

// Computes slot j of y.
fn finish(s: ptr<function, Slots>, j: u32, at: Place, scales: vec2<f32>, offsets: vec2<f32>) {
  if (j >= SLOTS) {
    return;
  }
  let i = at.column + j * SPAN;
  let scale = spread(scales, i, at.channel_cells);
  let offset = spread(offsets, i, at.channel_cells);
  let value = interleave(act((*s).p[j] * scale + offset), act((*s).q[j] * scale + offset));
  if (at.live && i < at.cells) {
    y[at.row + i] = value;
  }
}

fn finish4(s: ptr<function, Slots>, j: u32, at: Place, scales: vec2<f32>, offsets: vec2<f32>) {
  finish(s, j, at, scales, offsets);
  finish(s, j + 1u, at, scales, offsets);
  finish(s, j + 2u, at, scales, offsets);
  finish(s, j + 3u, at, scales, offsets);
}

@compute @workgroup_size(LANES)
fn forward(lane: Lane) {
  let at = place(lane);
  let k = origin(at, lane);
  let one = vec4<f32>(1.0);
  var s: Slots;
  var sum = vec4<f32>();
  for (var j = 0u; j < SLOTS; j++) {
    let i = at.column + j * SPAN;
    if (i < at.cells) {
      let v = x[at.row + i];
      s.p[j] = even(v) - k;
      s.q[j] = odd(v) - k;
    }
    sum += s.p[j] + s.q[j];
  }
  // Statistics of the subgroup. Its columns of the row begin at `base`.
  let base = at.column - lane.index % L;
  var own_cells = 0u;
  for (var j = 0u; j < SLOTS; j++) {
    own_cells += min(max(at.cells, base + j * SPAN) - base - j * SPAN, L);
  }
  let own_count = f32(8u * own_cells);
  let own_sum = lane_sum(dot(sum, one));
  let own_mean = own_sum / own_count;
  var squares = vec4<f32>();
  for (var j = 0u; j < SLOTS; j++) {
    let p = s.p[j] - own_mean;
    let q = s.q[j] - own_mean;
    squares += select(vec4<f32>(), p * p + q * q, at.column + j * SPAN < at.cells);
  }
  let own_squares = lane_sum(dot(squares, one));
  let count = f32(8u * ROWS * at.cells);
  var shift = own_mean;
  var variance = own_squares / count;
  if (LANES > L) {
    if (lane.index % L == 0u) {
      partial[lane.index / L] = vec4<f32>(own_sum, own_squares, own_count, own_mean);
    }
    workgroupBarrier();
    var parts: array<vec4<f32>, 16>;
    var total = 0.0;
    for (var j = 0u; j < PARTS; j++) {
      let i = lane.index % L + j * L;
      if (i < SUBGROUPS) {
        parts[j] = partial[i];
      }
      total += parts[j].x;
    }
    shift = lane_sum(total) / count;
    var all_squares = 0.0;
    for (var j = 0u; j < PARTS; j++) {
      let apart = parts[j].w - shift;
      all_squares += parts[j].y + parts[j].z * apart * apart;
    }
    variance = lane_sum(all_squares) / count;
  }
  let rstd = 1.0 / sqrt(variance + EPS);
  if (at.live && lane.index == 0u) {
    stats[at.group] = vec2<f32>(shift, rstd);
  }
  let wb = row_parameters(at, lane);
  let scales = rstd * wb.xy;
  let offsets = wb.zw - shift * scales;
  finish4(&s, 0u, at, scales, offsets);
  finish4(&s, 4u, at, scales, offsets);
}

@group(0) @binding(3) var<storage, read> saved: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<u64>>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec2<f32>>;

// act'(z)
fn slope(z: vec4<f32>) -> vec4<f32> {
  if (SILU) {
    let s = sigmoid4(z);
    return s * (1.0 + z * (1.0 - s));
  }
  return vec4<f32>(1.0);
}

// What the lane's elements have in common. `weights` and `biases` are those of the two channels.
struct Norm {
  k: vec4<f32>,
  shift: f32,
  rstd: f32,
  weights: vec2<f32>,
  biases: vec2<f32>,
}

// Loads slot j: h and g. Returns the sums of g and of g h over the numbers of the first channel of
// the row, then those of the second.
fn start(h: ptr<function, Slots>, g: ptr<function, Slots>, j: u32, at: Place, norm: Norm) -> vec4<f32> {
  if (j >= SLOTS) {
    return vec4<f32>();
  }
  let i = at.column + j * SPAN;
  if (i < at.cells) {
    let v = x[at.row + i];
    (*h).p[j] = (even(v) - norm.k - norm.shift) * norm.rstd;
    (*h).q[j] = (odd(v) - norm.k - norm.shift) * norm.rstd;
    let d = dy[at.row + i];
    (*g).p[j] = even(d);
    (*g).q[j] = odd(d);
  }
  let weight = spread(norm.weights, i, at.channel_cells);
  let bias = spread(norm.biases, i, at.channel_cells);
  (*g).p[j] *= slope((*h).p[j] * weight + bias);
  (*g).q[j] *= slope((*h).q[j] * weight + bias);
  let a = (*g).p[j] + (*g).q[j];
  let c = (*g).p[j] * (*h).p[j] + (*g).q[j] * (*h).q[j];
  let low = vec2<f32>(a.x + a.y, c.x + c.y);
  let high = vec2<f32>(a.z + a.w, c.z + c.w);
  let none = vec2<f32>();
  let low_second = 2u * i >= at.channel_cells;
  let high_second = 2u * i + 1u >= at.channel_cells;
  return vec4<f32>(
    select(low, none, low_second) + select(high, none, high_second),
    select(none, low, low_second) + select(none, high, high_second),
  );
}

fn start4(h: ptr<function, Slots>, g: ptr<function, Slots>, j: u32, at: Place, norm: Norm) -> vec4<f32> {
  return start(h, g, j, at, norm) + start(h, g, j + 1u, at, norm) + start(h, g, j + 2u, at, norm)
    + start(h, g, j + 3u, at, norm);
}

// Computes slot j of dx. `all` is the mean of w g and of w g h over the group.
fn end(h: ptr<function, Slots>, g: ptr<function, Slots>, j: u32, at: Place, norm: Norm, all: vec2<f32>) {
  if (j >= SLOTS) {
    return;
  }
  let i = at.column + j * SPAN;
  let weight = spread(norm.weights, i, at.channel_cells);
  var p = norm.rstd * (weight * (*g).p[j] - (all.x + (*h).p[j] * all.y));
  var q = norm.rstd * (weight * (*g).q[j] - (all.x + (*h).q[j] * all.y));
  if (at.live && i < at.cells) {
    if (ADD) {
      let old = dx[at.row + i];
      p += even(old);
      q += odd(old);
    }
    dx[at.row + i] = interleave(p, q);
  }
}

fn end4(h: ptr<function, Slots>, g: ptr<function, Slots>, j: u32, at: Place, norm: Norm, all: vec2<f32>) {
  end(h, g, j, at, norm, all);
  end(h, g, j + 1u, at, norm, all);
  end(h, g, j + 2u, at, norm, all);
  end(h, g, j + 3u, at, norm, all);
}

@compute @workgroup_size(LANES)
fn backward(lane: Lane) {
  let at = place(lane);
  let wb = row_parameters(at, lane);
  let norm = Norm(origin(at, lane), saved[at.group].x, saved[at.group].y, wb.xy, wb.zw);
  var h: Slots;
  var g: Slots;
  let own = start4(&h, &g, 0u, at, norm) + start4(&h, &g, 4u, at, norm);
  let total = lane_sum4(own);
  var row = total;
  var all = wb.x * total.xy + wb.y * total.zw;
  if (LANES > L) {
    if (lane.index % L == 0u) {
      partial[lane.index / L] = total;
      weighted[lane.index / L] = all;
    }
    workgroupBarrier();
    var sum = vec2<f32>();
    for (var j = 0u; j < PARTS; j++) {
      let i = lane.index % L + j * L;
      if (i < SUBGROUPS) {
        sum += weighted[i];
      }
    }
    all = vec2<f32>(lane_sum(sum.x), lane_sum(sum.y));
    if (at.column == 0u) {
      for (var i = 1u; i < SPAN / L; i++) {
        row += partial[lane.index / L + i];
      }
    }
  }
  all = all / f32(8u * ROWS * at.cells);
  if (at.live && at.column == 0u) {
    let to = (at.group * ROWS + lane.index / SPAN) * dims.row_channels;
    sums[to] = row.xy;
    if (dims.row_channels == 2u) {
      sums[to + 1u] = row.zw;
    }
  }
  end4(&h, &g, 0u, at, norm, all);
  end4(&h, &g, 4u, at, norm, all);
}
