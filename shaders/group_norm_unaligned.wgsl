// y = act((x - mean) * rstd * w + b): group_norm.wgsl for HW that is not a multiple of 4, such as
// 7 x 7.
// Formulas, shapes and division of work are the same. A channel may begin at any place within a
// vec4. So a lane reads the aligned vec4s that cover the channel, masks the elements outside of it,
// and writes one element at a time.
//
// x, y, dy, dx  [B, C, HW], n elements
// w, b          [C]
// stats, saved  [B, norm_groups, 2] = (mean - k, rstd)
// sums          [B, C, 2], which row_sums.wgsl adds
// One workgroup does one group of one image. FLOPs about 12 n forward, 30 n backward. Bytes with a
// cache 8 n forward, 12 n backward; without 12 n and 20 n.

override EPS: f32;
override SILU: bool;
override SPAN: u32;   // lanes per channel, a power of two
override ADD: bool;

struct Dims {
  blocks: u32,        // B norm_groups
  norm_groups: u32,
  d: u32,             // channels of a group
  hw: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

// Which elements of vec4 i are among the `length` elements from `start` on.
fn inside(i: u32, start: u32, length: u32) -> vec4<bool> {
  // Before the start the difference wraps to a large number.
  return vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) - start < vec4<u32>(length);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let live = workgroup_index(lane) < dims.blocks;
  let group = min(workgroup_index(lane), dims.blocks - 1u);
  let first = group * dims.d * dims.hw;
  let k = vec4<f32>(x[first / 4u][first % 4u]);
  let zero = dims.blocks >> 31u;

  var n = vec4<f32>();
  var mean = vec4<f32>();
  var squares = vec4<f32>();
  for (var i = first / 4u + lane.index; 4u * i < first + dims.d * dims.hw; i += WG) {
    let mask = inside(i, first, dims.d * dims.hw);
    n += select(vec4<f32>(), vec4<f32>(1.0), mask);
    let v = select(mean, difference(x[i], k, zero), mask);   // elements outside change nothing
    let d = v - mean;
    mean += d / max(n, vec4<f32>(1.0));
    squares += d * (v - mean);
  }
  let count = f32(dims.d * dims.hw);
  let shift = workgroup_sum(dot(n, mean), lane) / count;
  let apart = mean - shift;
  let variance = workgroup_sum(dot(squares, vec4<f32>(1.0)) + dot(n, apart * apart), lane) / count;
  let rstd = 1.0 / sqrt(variance + EPS);
  if (live && lane.index == 0u) {
    stats[group] = vec2<f32>(shift, rstd);
  }

  for (var c = lane.index / SPAN; live && c < dims.d; c += WG / SPAN) {
    let channel = group % dims.norm_groups * dims.d + c;
    let scale = rstd * w[channel];
    let offset = b[channel] - shift * scale;
    let start = first + c * dims.hw;
    for (var i = start / 4u + lane.index % SPAN; 4u * i < start + dims.hw; i += SPAN) {
      var z = difference(x[i], k, zero) * scale + offset;
      if (SILU) {
        z = z / (1.0 + exp(-z));
      }
      let mask = inside(i, start, dims.hw);
      if (mask.x) { y[4u * i] = z.x; }
      if (mask.y) { y[4u * i + 1u] = z.y; }
      if (mask.z) { y[4u * i + 2u] = z.z; }
      if (mask.w) { y[4u * i + 3u] = z.w; }
    }
  }
}

@group(0) @binding(3) var<storage, read> saved: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec2<f32>>;

// act'(z)
fn slope(z: vec4<f32>) -> vec4<f32> {
  if (SILU) {
    let s = 1.0 / (1.0 + exp(-z));
    return s * (1.0 + z * (1.0 - s));
  }
  return vec4<f32>(1.0);
}

fn put(i: u32, value: f32) {
  dx[i] = select(value, dx[i] + value, ADD);
}

@compute @workgroup_size(WG)
fn backward(lane: Lane) {
  let live = workgroup_index(lane) < dims.blocks;
  let group = min(workgroup_index(lane), dims.blocks - 1u);
  let first = group * dims.d * dims.hw;
  let k = vec4<f32>(x[first / 4u][first % 4u]);
  let zero = dims.blocks >> 31u;
  let shift = saved[group].x;
  let rstd = saved[group].y;
  let column = lane.index % SPAN;
  let one = vec4<f32>(1.0);

  var weighted = vec2<f32>();   // sums of w g and of w g h over this lane's channels
  for (var block = 0u; block < dims.d; block += WG / SPAN) {
    let c = block + lane.index / SPAN;
    let channel = group % dims.norm_groups * dims.d + min(c, dims.d - 1u);
    let weight = w[channel];
    let bias = b[channel];
    let start = first + c * dims.hw;
    var g_sum = vec4<f32>();
    var gh_sum = vec4<f32>();
    for (var i = start / 4u + column; c < dims.d && 4u * i < start + dims.hw; i += SPAN) {
      let mask = inside(i, start, dims.hw);
      let h = (difference(x[i], k, zero) - shift) * rstd;
      let g = dy[i] * slope(h * weight + bias);
      g_sum += select(vec4<f32>(), g, mask);
      gh_sum += select(vec4<f32>(), g * h, mask);
    }
    let total = span_sum(vec2<f32>(dot(g_sum, one), dot(gh_sum, one)), lane, SPAN);
    if (live && c < dims.d && column == 0u) {
      sums[group * dims.d + c] = total;
      weighted += weight * total;
    }
  }
  let all = span_sum(weighted, lane, WG) / f32(dims.d * dims.hw);

  for (var c = lane.index / SPAN; live && c < dims.d; c += WG / SPAN) {
    let channel = group % dims.norm_groups * dims.d + c;
    let weight = w[channel];
    let bias = b[channel];
    let start = first + c * dims.hw;
    for (var i = start / 4u + column; 4u * i < start + dims.hw; i += SPAN) {
      let mask = inside(i, start, dims.hw);
      let h = (difference(x[i], k, zero) - shift) * rstd;
      let g = dy[i] * slope(h * weight + bias);
      let value = rstd * (weight * g - (all.x + h * all.y));
      if (mask.x) { put(4u * i, value.x); }
      if (mask.y) { put(4u * i + 1u, value.y); }
      if (mask.z) { put(4u * i + 2u, value.z); }
      if (mask.w) { put(4u * i + 3u, value.w); }
    }
  }
}
