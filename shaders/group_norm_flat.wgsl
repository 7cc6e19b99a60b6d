// y = act((x - mean) * rstd * w + b): group_norm.wgsl for GPUs. The d HW elements of a group are a
// multiple of 4, but the HW of a channel need not be, as 49 in groups of 4 channels.
// Formulas and shapes are the same.
//
// x, y, dy, dx  [B, C, HW], n elements
// w, b          [C]
// stats, saved  [B, norm_groups, 2] = (mean - k, rstd), where k is the first element of the group
// sums          [B, C, 2], which row_sums.wgsl adds
//
// TEAM lanes do one group of one image, and a workgroup does WG / TEAM groups. So small groups
// leave few lanes idle, and need no barriers where a team is not larger than the blocks that add by
// shuffles (reduce_shuffle.wgsl). The elements of a group are one range of vec4s. `forward` keeps
// HELD of them in each lane, computes the mean, then the sum of squares of the differences from it,
// then y: it reads x once, except what is beyond TEAM * HELD vec4s. `backward` first sums over each
// channel, with SPAN lanes per channel. A channel may begin within a vec4, so it reads the vec4s
// that cover the channel and masks the others. Then it reads the range again, mostly from a cache.
// FLOPs about 12 n forward, 30 n backward. Bytes with a cache 8 n forward, 12 n backward.

override EPS: f32;
override SILU: bool;
override ALIGNED: bool;   // whether HW is a multiple of 4
override TEAM: u32;       // lanes per group, a power of two
override SPAN: u32;       // lanes per channel, a power of two, at most TEAM
override HELD: u32;       // vec4s that a lane keeps, at most MAX_HELD
override ADD: bool;

const MAX_HELD = 8u;

// Not overrides: a network has many sizes, and each override needs a compilation.
struct Dims {
  blocks: u32,        // B norm_groups
  norm_groups: u32,
  d: u32,             // channels of a group
  hw: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

struct Place {
  live: bool,     // whether the group exists
  group: u32,     // the group, or the last one
  member: u32,    // number of the lane in its team
  first: u32,     // first vec4 of the group
  cells: u32,     // vec4s of a group
  channel: u32,   // first channel of the group
}

fn place(lane: Lane) -> Place {
  let team = workgroup_index(lane) * (WG / TEAM) + lane.index / TEAM;
  let group = min(team, dims.blocks - 1u);
  let cells = dims.d * dims.hw / 4u;
  let channel = group % dims.norm_groups * dims.d;
  return Place(team < dims.blocks, group, lane.index % TEAM, group * cells, cells, channel);
}

// Channels of the elements of vec4 i of a group.
fn channels(i: u32, p: Place) -> vec4<u32> {
  if (ALIGNED) {
    return vec4<u32>(p.channel + 4u * i / dims.hw);
  }
  return p.channel + (4u * i + vec4<u32>(0u, 1u, 2u, 3u)) / dims.hw;
}

fn w4(c: vec4<u32>) -> vec4<f32> {
  if (ALIGNED) {
    return vec4<f32>(w[c.x]);
  }
  return vec4<f32>(w[c.x], w[c.y], w[c.z], w[c.w]);
}

fn b4(c: vec4<u32>) -> vec4<f32> {
  if (ALIGNED) {
    return vec4<f32>(b[c.x]);
  }
  return vec4<f32>(b[c.x], b[c.y], b[c.z], b[c.w]);
}

fn team_sum(value: vec4<f32>, lane: Lane) -> f32 {
  return span_sum(vec2<f32>(dot(value, vec4<f32>(1.0)), 0.0), lane, TEAM).x;
}

fn activated(z: vec4<f32>) -> vec4<f32> {
  if (SILU) {
    return z / (1.0 + exp(-z));
  }
  return z;
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let p = place(lane);
  let k = vec4<f32>(x[p.first].x);
  let zero = dims.blocks >> 31u;
  let count = f32(4u * p.cells);

  var held: array<vec4<f32>, MAX_HELD>;
  var sum = vec4<f32>();
  for (var n = 0u; n < HELD; n++) {
    let i = p.member + n * TEAM;
    held[n] = difference(x[p.first + min(i, p.cells - 1u)], k, zero);
    sum += select(vec4<f32>(), held[n], i < p.cells);
  }
  for (var i = p.member + HELD * TEAM; i < p.cells; i += TEAM) {
    sum += difference(x[p.first + i], k, zero);
  }
  let shift = team_sum(sum, lane) / count;

  var squares = vec4<f32>();
  for (var n = 0u; n < HELD; n++) {
    held[n] -= shift;
    squares += select(vec4<f32>(), held[n] * held[n], p.member + n * TEAM < p.cells);
  }
  for (var i = p.member + HELD * TEAM; i < p.cells; i += TEAM) {
    let apart = difference(x[p.first + i], k, zero) - shift;
    squares += apart * apart;
  }
  let variance = team_sum(squares, lane) / count;
  let rstd = 1.0 / sqrt(variance + EPS);
  if (!p.live) {
    return;
  }
  if (p.member == 0u) {
    stats[p.group] = vec2<f32>(shift, rstd);
  }
  for (var n = 0u; n < HELD; n++) {
    let i = p.member + n * TEAM;
    if (i < p.cells) {
      let c = channels(i, p);
      y[p.first + i] = activated(held[n] * (rstd * w4(c)) + b4(c));
    }
  }
  for (var i = p.member + HELD * TEAM; i < p.cells; i += TEAM) {
    let c = channels(i, p);
    y[p.first + i] = activated((difference(x[p.first + i], k, zero) - shift) * (rstd * w4(c)) + b4(c));
  }
}

@group(0) @binding(3) var<storage, read> saved: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec2<f32>>;

// act'(z)
fn slope(z: vec4<f32>) -> vec4<f32> {
  if (SILU) {
    let s = 1.0 / (1.0 + exp(-z));
    return s * (1.0 + z * (1.0 - s));
  }
  return vec4<f32>(1.0);
}

@compute @workgroup_size(WG)
fn backward(lane: Lane) {
  let p = place(lane);
  let k = vec4<f32>(x[p.first].x);
  let zero = dims.blocks >> 31u;
  let shift = saved[p.group].x;
  let rstd = saved[p.group].y;
  let column = p.member % SPAN;
  let one = vec4<f32>(1.0);

  var weighted = vec2<f32>();   // sums of w g and of w g h over this lane's channels
  for (var block = 0u; block < dims.d; block += TEAM / SPAN) {
    let c = block + p.member / SPAN;
    let channel = p.channel + min(c, dims.d - 1u);
    let weight = w[channel];
    let bias = b[channel];
    let start = 4u * p.first + c * dims.hw;
    // Lanes without a channel read nothing.
    let end = select(0u, start + dims.hw, c < dims.d);
    var g_sum = vec4<f32>();
    var gh_sum = vec4<f32>();
    for (var i = start / 4u + column; 4u * i < end; i += SPAN) {
      let h = (difference(x[i], k, zero) - shift) * rstd;
      var g = dy[i] * slope(h * weight + bias);
      if (!ALIGNED) {
        // Before the start the difference wraps to a large number.
        let inside = 4u * i + vec4<u32>(0u, 1u, 2u, 3u) - start < vec4<u32>(dims.hw);
        g = select(vec4<f32>(), g, inside);
      }
      g_sum += g;
      gh_sum += g * h;
    }
    let total = span_sum(vec2<f32>(dot(g_sum, one), dot(gh_sum, one)), lane, SPAN);
    if (p.live && c < dims.d && column == 0u) {
      sums[p.group * dims.d + c] = total;
      weighted += weight * total;
    }
  }
  let all = span_sum(weighted, lane, TEAM) / f32(4u * p.cells);

  for (var i = p.member; p.live && i < p.cells; i += TEAM) {
    let c = channels(i, p);
    let weight = w4(c);
    let h = (difference(x[p.first + i], k, zero) - shift) * rstd;
    let g = dy[p.first + i] * slope(h * weight + b4(c));
    let value = rstd * (weight * g - (all.x + h * all.y));
    dx[p.first + i] = select(value, dx[p.first + i] + value, ADD);
  }
}
