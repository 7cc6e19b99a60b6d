// y = act((x - mean) * rstd * w + b), act(z) = z or z sigmoid(z), rstd = 1 / sqrt(variance + EPS)
// (Wu and He 2018). Mean and (biased) variance are computed over the d = C / norm_groups channels
// of a group in one image. This file is for HW that is a multiple of 4; group_norm_unaligned.wgsl
// does the others.
//
// Backward, with h = (x - mean) rstd, z = h w + b, g = dy act'(z), and N elements in a group:
//   sums = (sum of g, sum of g h) of each channel of each image
//   dx = rstd (w g - (sum of w g + h * sum of w g h over the group) / N)
//   dw = sum of g h, db = sum of g over the batch (row_sums.wgsl)
//
// x, y, dy, dx  [B, C, HW], n elements
// w, b          [C]
// stats, saved  [B, norm_groups, 2] = (mean - k, rstd), where k is the first element of the group.
//               Differences from k keep their digits when the mean is large compared with the
//               standard deviation.
// sums          [B, C, 2]
//
// One workgroup does one group of one image. It reads the group for the statistics, by Welford's
// method with four accumulators per lane, merged as Chan, Golub and LeVeque (1979) do. Then it
// reads the group again, mostly from a cache. In the second pass SPAN lanes share a channel and WG
// / SPAN channels are done at once, so w and b are loaded once per channel.
// FLOPs about 12 n forward, 30 n backward. Bytes with a cache 8 n forward, 12 n backward; without
// 12 n and 20 n.

override EPS: f32;
override SILU: bool;
override SPAN: u32;   // lanes per channel, a power of two
override ADD: bool;

// Not overrides: a network has many sizes, and each override needs a compilation.
struct Dims {
  blocks: u32,        // B norm_groups
  norm_groups: u32,
  d: u32,             // channels of a group
  cells: u32,         // vec4s of a channel: HW / 4
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let live = workgroup_index(lane) < dims.blocks;
  let group = min(workgroup_index(lane), dims.blocks - 1u);
  let first = group * dims.d * dims.cells;
  let k = vec4<f32>(x[first].x);
  let zero = dims.blocks >> 31u;

  var n = 0.0;
  var mean = vec4<f32>();
  var squares = vec4<f32>();
  for (var i = lane.index; i < dims.d * dims.cells; i += WG) {
    n += 1.0;
    let v = difference(x[first + i], k, zero);
    let d = v - mean;
    mean += d * (1.0 / n);
    squares += d * (v - mean);
  }
  let count = f32(4u * dims.d * dims.cells);
  let one = vec4<f32>(1.0);
  let shift = workgroup_sum(n * dot(mean, one), lane) / count;
  let apart = mean - shift;
  let variance = workgroup_sum(dot(squares, one) + n * dot(apart, apart), lane) / count;
  let rstd = 1.0 / sqrt(variance + EPS);
  if (live && lane.index == 0u) {
    stats[group] = vec2<f32>(shift, rstd);
  }

  for (var c = lane.index / SPAN; live && c < dims.d; c += WG / SPAN) {
    let channel = group % dims.norm_groups * dims.d + c;
    let scale = rstd * w[channel];
    let offset = b[channel] - shift * scale;
    let row = first + c * dims.cells;
    for (var i = lane.index % SPAN; i < dims.cells; i += SPAN) {
      let z = difference(x[row + i], k, zero) * scale + offset;
      if (SILU) {
        y[row + i] = z / (1.0 + exp(-z));
      } else {
        y[row + i] = z;
      }
    }
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
  let live = workgroup_index(lane) < dims.blocks;
  let group = min(workgroup_index(lane), dims.blocks - 1u);
  let first = group * dims.d * dims.cells;
  let k = vec4<f32>(x[first].x);
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
    let row = first + c * dims.cells;
    var g_sum = vec4<f32>();
    var gh_sum = vec4<f32>();
    for (var i = column; c < dims.d && i < dims.cells; i += SPAN) {
      let h = (difference(x[row + i], k, zero) - shift) * rstd;
      let g = dy[row + i] * slope(h * weight + bias);
      g_sum += g;
      gh_sum += g * h;
    }
    let total = span_sum(vec2<f32>(dot(g_sum, one), dot(gh_sum, one)), lane, SPAN);
    if (live && c < dims.d && column == 0u) {
      sums[group * dims.d + c] = total;
      weighted += weight * total;
    }
  }
  let all = span_sum(weighted, lane, WG) / f32(4u * dims.d * dims.cells);

  for (var c = lane.index / SPAN; live && c < dims.d; c += WG / SPAN) {
    let channel = group % dims.norm_groups * dims.d + c;
    let weight = w[channel];
    let bias = b[channel];
    let row = first + c * dims.cells;
    for (var i = column; i < dims.cells; i += SPAN) {
      let h = (difference(x[row + i], k, zero) - shift) * rstd;
      let g = dy[row + i] * slope(h * weight + bias);
      let value = rstd * (weight * g - (all.x + h * all.y));
      dx[row + i] = select(value, dx[row + i] + value, ADD);
    }
  }
}
