// Convolution with a kernel of 1 x 1: the subgroup variant. It is a matrix product over channels,
// with pixels numbered through the batch.
//
//   convolve  result[n,m,p] (+)= bias[m] + sum_k weight(m,k) source[n,k,p]
//             forward; with the transposed weights the gradient of x
//   partial   partial_w[split,o,c] = sum_{n,p} dy[n,o,p] x[n,c,p]
//             partial_b[split,o] = sum_{n,p} dy[n,o,p]
//
// source, x            [batch, channels_in, pixels]
// result, dy           [batch, channels_out, pixels]
// weights              packed by conv2d_pack.wgsl, with 4 GROUPS channels per tile
// partial_w, partial_b [splits, Co, Ci], [splits, Co]; row_sums.wgsl adds the splits
//
// One workgroup is one subgroup. convolve: a lane owns LANE_COLUMNS pixels and 4 GROUPS channels;
// grid (pixels, folded into x and y; tiles of channels, z). partial: a lane owns 4 channels of x;
// grid (tiles of c, tiles of o, splits). A split sums the images split, split + splits, and so on.
// FLOPs 2 batch pixels Ci Co each; per channel (or pixel) a lane does 8 loads for 16 GROUPS
// multiply-adds, so loads limit the speed. Bytes (2 / GROUPS) batch pixels Ci Co, mostly
// from caches.

// "in" is the source: x forward, dy in the gradient of x.
struct Dims { batch: u32, channels_in: u32, channels_out: u32, pixels: u32, splits: u32 }

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

const LANE_COLUMNS = 4u;   // pixels of a lane: the width of a vec4
const STEPS = vec4<u32>(0u, 1u, 2u, 3u);

// Index of channel 0 of four pixels in a tensor with this many channels. Past the end the last
// pixel is repeated.
fn spot(columns: vec4<u32>, channels: u32) -> vec4<u32> {
  let at = min(columns, vec4<u32>(dims.batch * dims.pixels - 1u));
  return at / dims.pixels * channels * dims.pixels + at % dims.pixels;
}

fn put(at: u32, v: f32, live: bool) {
  if (live) {
    if (ADD) {
      result[at] += v;
    } else {
      result[at] = v;
    }
  }
}

@compute @workgroup_size(L)
fn convolve(lane: Lane) {
  let columns = LANE_COLUMNS * (workgroup_index(lane) * L + lane.index) + STEPS;
  var tile: Tile;
  var at = spot(columns, dims.channels_in);
  var w = lane.workgroup.z * (1u + dims.channels_in) * GROUPS + min(lane.index, GROUPS - 1u);
  outer(&tile, weights[w], vec4<f32>(1.0));
  for (var c = 0u; c < dims.channels_in; c++) {
    w += GROUPS;
    outer(&tile, weights[w], vec4<f32>(source[at.x], source[at.y], source[at.z], source[at.w]));
    at += dims.pixels;
  }
  store_rows(lane, columns, &tile, 0u);
  store_rows(lane, columns, &tile, 1u);
  store_rows(lane, columns, &tile, 2u);
  store_rows(lane, columns, &tile, 3u);
}

// Stores rows 4 l + k of the tile.
fn store_rows(lane: Lane, columns: vec4<u32>, tile: ptr<function, Tile>, k: u32) {
  let first = lane.workgroup.z * 4u * GROUPS + k;
  let to = spot(columns, dims.channels_out) + first * dims.pixels;
  let room = max(dims.batch * dims.pixels, columns.x) - columns.x;
  for (var l = 0u; l < GROUPS; l++) {
    let v = (*tile)[4u * l + k];
    let i = to + 4u * l * dims.pixels;
    let live = first + 4u * l < dims.channels_out;
    put(i.x, v.x, live && room > 0u);
    put(i.y, v.y, live && room > 1u);
    put(i.z, v.z, live && room > 2u);
    put(i.w, v.w, live && room > 3u);
  }
}

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

@compute @workgroup_size(L)
fn partial(
  // Not a Lane: if one member of a struct differs between lanes, Tint assumes that all members do,
  // and rejects subgroup functions in a loop that depends on one of them.
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let lane = Lane(group, groups, index);
  let first = lane.workgroup.y * 4u * GROUPS;
  let mine = first + 4u * min(lane.index, GROUPS - 1u);   // the first of this lane's rows of dy
  let channel = 4u * (lane.workgroup.x * L + lane.index);
  let split = group.z;
  // Index of the planes of this lane's rows and columns.
  let row = min(mine + STEPS, vec4<u32>(dims.channels_out - 1u)) * dims.pixels;
  let column = min(channel + STEPS, vec4<u32>(dims.channels_in - 1u)) * dims.pixels;
  var tile: Tile;
  var bias: vec4<f32>;
  for (var n = split; n < dims.batch; n += dims.splits) {
    var i = row + n * dims.channels_out * dims.pixels;
    var j = column + n * dims.channels_in * dims.pixels;
    for (var p = 0u; p < dims.pixels; p++) {
      let d = vec4<f32>(dy[i.x], dy[i.y], dy[i.z], dy[i.w]);
      bias += d;
      outer(&tile, d, vec4<f32>(x[j.x], x[j.y], x[j.z], x[j.w]));
      i += 1u;
      j += 1u;
    }
  }
  for (var k = 0u; k < 4u; k++) {
    if (lane.workgroup.x == 0u && lane.index < GROUPS && mine + k < dims.channels_out) {
      partial_b[split * dims.channels_out + mine + k] = bias[k];
    }
  }
  save_rows(lane, &tile, 0u);
  save_rows(lane, &tile, 1u);
  save_rows(lane, &tile, 2u);
  save_rows(lane, &tile, 3u);
}

// Stores rows 4 l + k of the tile of partial sums.
fn save_rows(lane: Lane, tile: ptr<function, Tile>, k: u32) {
  let first = lane.workgroup.y * 4u * GROUPS + k;
  let channel = 4u * (lane.workgroup.x * L + lane.index);
  let room = max(dims.channels_in, channel) - channel;
  for (var l = 0u; l < GROUPS; l++) {
    let v = (*tile)[4u * l + k];
    let at = (lane.workgroup.z * dims.channels_out + first + 4u * l) * dims.channels_in + channel;
    let live = first + 4u * l < dims.channels_out;
    put_partial(at, v.x, live && room > 0u);
    put_partial(at + 1u, v.y, live && room > 1u);
    put_partial(at + 2u, v.z, live && room > 2u);
    put_partial(at + 3u, v.w, live && room > 3u);
  }
}

fn put_partial(at: u32, v: f32, live: bool) {
  if (live) {
    partial_w[at] = v;
  }
}
