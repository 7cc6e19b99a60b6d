// y = act((x - mean) * rstd * w + b), act(z) = z or z sigmoid(z).      x, y [B, C, HW]   w, b [C]   for maps with HW a multiple of 4
// (group_norm_unaligned.wgsl does the others). mean and variance (biased) are of the D = C / NORM_GROUPS channels of a group, rstd = 1 / sqrt(var + EPS).
//
// One workgroup does one group of one image: reads it for the statistics, reads it again (from a near cache) to normalise.
// In the second reading SPAN lanes share a channel, and WG / SPAN channels go at once, so w and b are loaded once a channel.
// stats [B, NORM_GROUPS, 2] holds (mean - k, rstd), where k is the first element of the group: distances from k are exact where the mean is large
// against the deviation, so nothing is lost there. The statistics are Welford's, four to a lane, merged as Chan, Golub and LeVeque (1979) do.
// FLOPs about 12 n; bytes 8 n (12 n without the cache).
//
// Backward, with h = (x - mean) rstd, z = h w + b and g = dy act'(z): for each channel, sum(g) and sum(g h) go to sums [B, C, 2];
// dx = rstd (w g - (sum of w g + h * sum of w g h over the group) / N); dw = sum(g h) and db = sum(g) over the batch, by backward_weight.
// FLOPs about 30 n; bytes 12 n (20 n without the cache).

override EPS: f32;
override SILU: bool;
override SPAN: u32;   // lanes a channel, a power of two
override ADD: bool;

// Sizes are no constants, because a network has many and each would be a compilation.
struct Dims {
  blocks: u32,        // B norm_groups; B in backward_weight
  norm_groups: u32,
  d: u32,             // channels a group
  cells: u32,         // vec4s a channel: HW / 4
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
  let k = x[first].x;

  var n = 0.0;
  var mean = vec4<f32>();
  var squares = vec4<f32>();
  for (var i = lane.index; i < dims.d * dims.cells; i += WG) {
    n += 1.0;
    let v = x[first + i] - k;
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
      let z = (x[row + i] - k) * scale + offset;
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
  let k = x[first].x;
  let shift = saved[group].x;
  let rstd = saved[group].y;
  let column = lane.index % SPAN;
  let one = vec4<f32>(1.0);

  var weighted = vec2<f32>();   // of this lane's channels: sum of w g, of w g h
  for (var block = 0u; block < dims.d; block += WG / SPAN) {
    let c = block + lane.index / SPAN;
    let channel = group % dims.norm_groups * dims.d + min(c, dims.d - 1u);
    let weight = w[channel];
    let bias = b[channel];
    let row = first + c * dims.cells;
    var g_sum = vec4<f32>();
    var gh_sum = vec4<f32>();
    for (var i = column; c < dims.d && i < dims.cells; i += SPAN) {
      let h = (x[row + i] - k - shift) * rstd;
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
      let h = (x[row + i] - k - shift) * rstd;
      let g = dy[row + i] * slope(h * weight + bias);
      let value = rstd * (weight * g - (all.x + h * all.y));
      dx[row + i] = select(value, dx[row + i] + value, ADD);
    }
  }
}

// dw[c] = sum over the batch of sums[., c].y, db of .x: one workgroup a channel, in a fixed order.
@group(0) @binding(0) var<storage, read> parts: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> dw: array<f32>;
@group(0) @binding(2) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(WG)
fn backward_weight(lane: Lane) {
  let channels = dims.norm_groups * dims.d;
  let channel = min(workgroup_index(lane), channels - 1u);
  var part = vec2<f32>();
  for (var i = lane.index; i < dims.blocks; i += WG) {
    part += parts[i * channels + channel];
  }
  let total = span_sum(part, lane, WG);
  if (lane.index == 0u && workgroup_index(lane) == channel) {
    dw[channel] = select(total.y, dw[channel] + total.y, ADD);
    db[channel] = select(total.x, db[channel] + total.x, ADD);
  }
}
