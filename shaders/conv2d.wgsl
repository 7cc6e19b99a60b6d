// Convolution as a matrix product over gathered pixels: the tiled variant. conv2d_weight.wgsl
// computes the gradients of weights and bias.
//
//   forward         y[n,o,i,j] = b[o] + sum_{c,r,s} w[o,c,r,s] x[n,c,stride i+r-pad,stride j+s-pad]
//                   with zeros outside of x, plus an addend: nothing, a map, or numbers of channels
//   backward_input  dx[n,c,i,j] (+)= sum_{o,r,s} w[o,c,r,s]
//                   dy[n,o,(i+pad-r)/stride,(j+pad-s)/stride] over the r, s for which both
//                   quotients are integers
//
// source  x [batch, Ci, H, W] forward, dy [batch, Co, H', W'] backward
// w       [Co, Ci, kernel, kernel]
// b       [Co]
// addend  [batch, Co, H', W'] if ADDEND_KIND is MAP; [batch, addend_width] if it is CHANNELS, of
//         which the columns from addend_first on are added; not read if it is NOTHING
// result  y [batch, Co, H', W'] forward, dx [batch, Ci, H, W] backward
//
// A workgroup computes a tile of TILE_M channels by TILE_N pixels, and an invocation ROWS channels
// by 4 pixels of it. Pixels are numbered through the batch, so small images fill the tiles too.
//
// The sum runs over the depth: all taps of a channel of the source, then of the next channel. A
// step loads up to TILE_K of the depth into workgroup memory, in whole channels. So an invocation
// loads the same taps of the same pixels in every step, and computes their indices once. Its values
// for a step are loaded while the step before is computed.
//
// A vec4 of a tile in workgroup memory has elements that are a quarter of the tile apart. Thus
// neighboring invocations load and store neighboring pixels of device memory. The weights are
// loaded in the order in which they are stored.
//
// Grid: (pixels, folded into x and y; tiles of channels, z). With a stride, backward_input divides
// the pixels of dx by their remainders modulo the stride (also in z): all pixels of a workgroup
// then meet the same taps.
// FLOPs 2 batch H' W' Co Ci kernel^2 each; bytes at least one pass over x, y and w.

struct Dims {
  batch: u32,
  channels_source: u32, height_source: u32, width_source: u32,
  channels_result: u32, height_result: u32, width_result: u32,
  pad: u32,
  addend_width: u32, addend_first: u32,   // forward only
}

override KERNEL: u32;   // 1 or 3
override STRIDE: u32;   // 1 or 2
override ADD: bool;
override ADDEND_KIND: u32;
const NOTHING = 0u;
const MAP = 1u;
const CHANNELS = 2u;
override TILE_M: u32;
override TILE_N: u32;
override ROWS: u32;     // 4 or 8: channels of an invocation
override M4 = TILE_M / 4u;
override N4 = TILE_N / 4u;
override GRID_M = TILE_M / ROWS;    // invocations with the same pixels: 4, 8 or 16
override WORKGROUP = GRID_M * N4;
// Two channels of a 3x3 kernel or 16 of 1x1, or half of that with few groups: an invocation then
// loads at most three vec4s of each tile.
override TILE_K = min(GRID_M, 8u) / 4u * (8u + KERNEL / 3u);
override UNROLL = select(8u, 9u, KERNEL == 3u);
// In vec4s. One more than needed, so that lanes that store a column use different memory banks.
override LEFT_ROW = M4 + 1u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;

var<workgroup> left: array<vec4<f32>, LEFT_ROW * TILE_K>;   // [depth][channel of the result]
var<workgroup> right: array<vec4<f32>, N4 * TILE_K>;        // [depth][pixel]

// Four pixels of ROWS channels. Those of r0 to r3 are M4 apart; those of r4 to r7 are GRID_M later.
struct Block {
  r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>,
  r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32>,
}

// Four pixels of the result, N4 apart: index of channel 0 in `result`, whether the pixel exists,
// its image, and the pixel of the source under its first tap. A coordinate below zero is a large
// number, as in all of this file.
struct Pixels { result: vec4<u32>, live: vec4<bool>, image: vec4<u32>, y: vec4<u32>, x: vec4<u32> }

// The taps that a pixel meets: their number, the step from one to the next in the source, and the
// index in w as first + channel of result * per_result + channel of source * per_source + ...
struct Taps {
  count_y: u32, count_x: u32, step: u32, first: u32, per_result: u32, per_source: u32, per_y: u32, per_x: u32
}

// What an invocation loads of the source in step 0: place k in the depth, for its four pixels.
struct Gather { k: u32, channel: u32, at: vec4<u32>, inside: vec4<bool> }

// What an invocation loads of w in step 0: place k in the depth, for quad m of the tile's channels.
struct Weights { k: u32, channel: u32, m: u32, at: vec4<u32> }

// All of that, and the depth of a step.
struct Loads {
  g0: Gather, g1: Gather, g2: Gather,
  l0: Weights, l1: Weights, l2: Weights,
  depth: u32,
}

// Where a step begins: its first channel, and how far the indices in the source and in w have
// moved.
struct Begin { channel: u32, source: u32, weight: u32 }

// The values of a step that an invocation loads.
struct Loaded {
  s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>,
  w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>,
}

// The four pixels of this invocation, among the pixels (every a + first_y, every b + first_x) of
// the result, numbered by (image, a, b).
fn pixels_at(group: vec3<u32>, groups: vec3<u32>, index: u32, every: u32, first_y: u32, first_x: u32) -> Pixels {
  let number = (group.y * groups.x + group.x) * TILE_N + index % N4 + N4 * vec4<u32>(0u, 1u, 2u, 3u);
  let lines = (dims.height_result + every - 1u - first_y) / every;
  // An image with one column has zero columns for first_x > 0.
  let columns = (dims.width_result + every - 1u - first_x) / every;
  let live = number < vec4<u32>(dims.batch * lines * columns);
  let line = number / max(columns, 1u);
  let image = line / max(lines, 1u);
  let y = line % max(lines, 1u);
  let x = number % max(columns, 1u);
  let plane = dims.height_result * dims.width_result;
  let at = image * dims.channels_result * plane + (every * y + first_y) * dims.width_result + every * x + first_x;
  return Pixels(at, live, image, y, x);
}

fn gather(pixels: Pixels, taps: Taps, first: vec4<u32>, k: u32) -> Gather {
  let count = max(taps.count_y * taps.count_x, 1u);
  let channel = k / count;
  let tap = k % count;
  let down = taps.step * (tap / max(taps.count_x, 1u));
  let right = taps.step * (tap % max(taps.count_x, 1u));
  var inside = pixels.live & vec4<bool>(k < TILE_K);
  if (KERNEL > 1u) {
    inside &= (pixels.y + down < vec4<u32>(dims.height_source)) & (pixels.x + right < vec4<u32>(dims.width_source));
  }
  // A channel past the last one repeats it, because its weights are zero.
  let plane = min(channel, dims.channels_source - 1u) * dims.height_source;
  let at = first + (plane + down) * dims.width_source + right;
  return Gather(k, channel, select(vec4<u32>(0u), at, inside), inside);
}

fn load_source(g: Gather, begin: Begin) -> vec4<f32> {
  let i = g.at + select(0u, begin.source, begin.channel + g.channel < dims.channels_source);
  return vec4<f32>(source[i.x], source[i.y], source[i.z], source[i.w]);
}

// Item number `item`, in the order of w: along the depth for each channel of the result, or along
// the taps of all channels of the result for each channel of the source.
fn weights(item: u32, along_depth: bool, taps: Taps, tile_m: u32) -> Weights {
  let count = max(taps.count_y * taps.count_x, 1u);
  let depth = TILE_K / count * count;
  let k = select(item / (M4 * count) * count + item % count, item % depth, along_depth);
  let m = select(item / count % M4, item / depth, along_depth);
  let channel = k / count;
  let tap = k % count;
  // Channels past the last one repeat it: those of the result are not stored, and for those of the
  // source, zeros are written to workgroup memory.
  let row = tile_m * TILE_M + m + M4 * vec4<u32>(0u, 1u, 2u, 3u);
  let at = min(row, vec4<u32>(dims.channels_result - 1u)) * taps.per_result
    + min(channel, dims.channels_source - 1u) * taps.per_source + taps.first
    + tap / max(taps.count_x, 1u) * taps.per_y + tap % max(taps.count_x, 1u) * taps.per_x;
  // Without work, every invocation gets the same place.
  return Weights(k, channel, m, select(vec4<u32>(0u), at, k < TILE_K && m < M4));
}

fn load_weights(l: Weights, begin: Begin) -> vec4<f32> {
  let i = l.at + select(0u, begin.weight, begin.channel + l.channel < dims.channels_source);
  return vec4<f32>(w[i.x], w[i.y], w[i.z], w[i.w]);
}

// Whether this invocation loads a vec4 in a round. Most of this is known when the kernel is
// compiled.
fn gathers(round: u32, g: Gather, depth: u32) -> bool {
  return round * GRID_M < depth && ((round + 1u) * GRID_M <= depth || g.k < depth);
}

fn weighs(round: u32, l: Weights, depth: u32) -> bool {
  return round * WORKGROUP < depth * M4 && ((round + 1u) * WORKGROUP <= depth * M4 || (l.k < depth && l.m < M4));
}

// An invocation without work in a round loads too: a branch would make some compilers wait for the
// values before the step is computed.
fn load(loads: Loads, begin: Begin) -> Loaded {
  var v: Loaded;
  v.s0 = load_source(loads.g0, begin);
  if (GRID_M < TILE_K) {
    v.s1 = load_source(loads.g1, begin);
  }
  if (2u * GRID_M < TILE_K) {
    v.s2 = load_source(loads.g2, begin);
  }
  v.w0 = load_weights(loads.l0, begin);
  if (WORKGROUP < TILE_K * M4) {
    v.w1 = load_weights(loads.l1, begin);
  }
  if (2u * WORKGROUP < TILE_K * M4) {
    v.w2 = load_weights(loads.l2, begin);
  }
  return v;
}

fn keep_source(g: Gather, v: vec4<f32>, column: u32) {
  right[g.k * N4 + column] = select(vec4<f32>(0.0), v, g.inside);
}

fn keep_weights(l: Weights, v: vec4<f32>, begin: Begin) {
  let live = begin.channel + l.channel < dims.channels_source;
  left[l.k * LEFT_ROW + l.m] = select(vec4<f32>(0.0), v, live);
}

// Writes the values of a step to workgroup memory. Only here are they used, so a kernel does not
// wait for them before.
fn keep(loads: Loads, v: Loaded, begin: Begin, column: u32) {
  if (gathers(0u, loads.g0, loads.depth)) {
    keep_source(loads.g0, v.s0, column);
  }
  if (gathers(1u, loads.g1, loads.depth)) {
    keep_source(loads.g1, v.s1, column);
  }
  if (gathers(2u, loads.g2, loads.depth)) {
    keep_source(loads.g2, v.s2, column);
  }
  if (weighs(0u, loads.l0, loads.depth)) {
    keep_weights(loads.l0, v.w0, begin);
  }
  if (weighs(1u, loads.l1, loads.depth)) {
    keep_weights(loads.l1, v.w1, begin);
  }
  if (weighs(2u, loads.l2, loads.depth)) {
    keep_weights(loads.l2, v.w2, begin);
  }
}

fn multiply(pixels: Pixels, taps: Taps, along_depth: bool, tile_m: u32, index: u32) -> Block {
  let count = taps.count_y * taps.count_x;
  let channels = TILE_K / max(count, 1u);   // of a step
  let depth = channels * count;
  // Compilers unroll the loop over this many. The depth is a multiple of it.
  let unroll = select(1u, UNROLL, along_depth || STRIDE == 1u);
  let column = index % N4;
  let row = index / N4;
  let first = (pixels.image * dims.channels_source * dims.height_source + pixels.y) * dims.width_source + pixels.x;
  // The first invocations gather more, so the last ones begin with the weights.
  let item = WORKGROUP - 1u - index;
  let loads = Loads(
    gather(pixels, taps, first, row), gather(pixels, taps, first, row + GRID_M),
    gather(pixels, taps, first, row + 2u * GRID_M),
    weights(item, along_depth, taps, tile_m), weights(item + WORKGROUP, along_depth, taps, tile_m),
    weights(item + 2u * WORKGROUP, along_depth, taps, tile_m), depth,
  );
  let move_source = channels * dims.height_source * dims.width_source;
  let move_weight = channels * taps.per_source;
  var begin: Begin;
  keep(loads, load(loads, begin), begin, column);
  var tile: Block;
  // Pixels without a tap have no step.
  let end = select(0u, dims.channels_source, count > 0u);
  while (begin.channel < end) {
    workgroupBarrier();
    begin = Begin(begin.channel + channels, begin.source + move_source, begin.weight + move_weight);
    var next: Loaded;
    if (begin.channel < end) {
      next = load(loads, begin);
    }
    for (var first_k = 0u; first_k < depth; first_k += unroll) {
      for (var j = 0u; j < unroll; j++) {
        let k = first_k + j;
        let r = right[k * N4 + column];
        let a = left[k * LEFT_ROW + row];
        tile.r0 += a.x * r;
        tile.r1 += a.y * r;
        tile.r2 += a.z * r;
        tile.r3 += a.w * r;
        if (ROWS == 8u) {
          let b = left[k * LEFT_ROW + row + GRID_M];
          tile.r4 += b.x * r;
          tile.r5 += b.y * r;
          tile.r6 += b.z * r;
          tile.r7 += b.w * r;
        }
      }
    }
    workgroupBarrier();
    if (begin.channel < end) {
      keep(loads, next, begin, column);
    }
  }
  return tile;
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

fn put_row(pixels: Pixels, channel: u32, v: vec4<f32>) {
  let at = pixels.result + channel * dims.height_result * dims.width_result;
  let live = pixels.live & vec4<bool>(channel < dims.channels_result);
  put(at.x, v.x, live.x);
  put(at.y, v.y, live.y);
  put(at.z, v.z, live.z);
  put(at.w, v.w, live.w);
}

@group(0) @binding(5) var<storage, read> addend: array<f32>;

// Four pixels of a channel, plus its bias and the addend.
fn put_sum(pixels: Pixels, channel: u32, v: vec4<f32>) {
  // Pixels and channels past the end read element 0, and are not stored.
  let live = pixels.live & vec4<bool>(channel < dims.channels_result);
  var sum = v + b[min(channel, dims.channels_result - 1u)];
  if (ADDEND_KIND == MAP) {
    let plane = dims.height_result * dims.width_result;
    let i = select(vec4<u32>(), pixels.result + channel * plane, live);
    sum += vec4<f32>(addend[i.x], addend[i.y], addend[i.z], addend[i.w]);
  }
  if (ADDEND_KIND == CHANNELS) {
    let i = select(vec4<u32>(), pixels.image * dims.addend_width + dims.addend_first + channel, live);
    sum += vec4<f32>(addend[i.x], addend[i.y], addend[i.z], addend[i.w]);
  }
  put_row(pixels, channel, sum);
}

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let area = KERNEL * KERNEL;
  var pixels = pixels_at(group, groups, index, 1u, 0u, 0u);
  pixels.y = pixels.y * STRIDE - dims.pad;
  pixels.x = pixels.x * STRIDE - dims.pad;
  let taps = Taps(KERNEL, KERNEL, 1u, 0u, dims.channels_source * area, area, KERNEL, 1u);
  let tile = multiply(pixels, taps, true, group.z, index);
  let channel = group.z * TILE_M + index / N4;
  put_sum(pixels, channel, tile.r0);
  put_sum(pixels, channel + M4, tile.r1);
  put_sum(pixels, channel + 2u * M4, tile.r2);
  put_sum(pixels, channel + 3u * M4, tile.r3);
  if (ROWS == 8u) {
    let later = channel + GRID_M;
    put_sum(pixels, later, tile.r4);
    put_sum(pixels, later + M4, tile.r5);
    put_sum(pixels, later + 2u * M4, tile.r6);
    put_sum(pixels, later + 3u * M4, tile.r7);
  }
}

@compute @workgroup_size(WORKGROUP)
fn backward_input(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let area = KERNEL * KERNEL;
  let first_y = group.z / STRIDE % STRIDE;
  let first_x = group.z % STRIDE;
  let tile_m = group.z / (STRIDE * STRIDE);
  // The first tap that a pixel with these remainders meets, and how many it meets.
  let tap_y = (first_y + dims.pad) % STRIDE;
  let tap_x = (first_x + dims.pad) % STRIDE;
  let count_y = (KERNEL + STRIDE - 1u - tap_y) / STRIDE;
  let count_x = (KERNEL + STRIDE - 1u - tap_x) / STRIDE;
  var pixels = pixels_at(group, groups, index, STRIDE, first_y, first_x);
  pixels.y += (first_y + dims.pad) / STRIDE;
  pixels.x += (first_x + dims.pad) / STRIDE;
  let taps = Taps(
    count_y, count_x, 0xffffffffu, tap_y * KERNEL + tap_x, area, dims.channels_result * area, STRIDE * KERNEL, STRIDE,
  );
  let tile = multiply(pixels, taps, false, tile_m, index);
  let channel = tile_m * TILE_M + index / N4;
  put_row(pixels, channel, tile.r0);
  put_row(pixels, channel + M4, tile.r1);
  put_row(pixels, channel + 2u * M4, tile.r2);
  put_row(pixels, channel + 3u * M4, tile.r3);
  if (ROWS == 8u) {
    let later = channel + GRID_M;
    put_row(pixels, later, tile.r4);
    put_row(pixels, later + M4, tile.r5);
    put_row(pixels, later + 2u * M4, tile.r6);
    put_row(pixels, later + 3u * M4, tile.r7);
  }
}
