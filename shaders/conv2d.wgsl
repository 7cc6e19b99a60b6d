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
// A workgroup of 256 computes a tile of TILE_M channels by TILE_N pixels; an invocation computes 4
// by 4 of them. For each tap of the kernel, the workgroup loads TILE_K channels of the source at a
// time into workgroup memory. Pixels are numbered through the batch, so small images fill the tiles
// too.
// Grid: (pixels, folded into x and y; tiles of channels, z). With a stride, backward_input divides
// the pixels of dx by their remainders modulo the stride (also in z): all pixels of a workgroup
// then meet the same taps.
// FLOPs 2 batch H' W' Co Ci kernel^2 each; bytes at least one pass over x, y and w.

struct Dims {
  batch: u32,
  channels_source: u32, height_source: u32, width_source: u32,
  channels_result: u32, height_result: u32, width_result: u32,
  kernel: u32, stride: u32, pad: u32,
  addend_width: u32, addend_first: u32,   // forward only
}

override ADD: bool;
override ADDEND_KIND: u32;
const NOTHING = 0u;
const MAP = 1u;
const CHANNELS = 2u;
override TILE_M: u32;   // 32 or 64: rows of a tile
override TILE_N = TILE_ELEMENTS / TILE_M;
const TILE_ELEMENTS = 4096u;    // 16 for each of the 256 invocations
const TILE_K = 16u;
// In vec4s. One more than needed, so that lanes that store a column use different memory banks.
override LEFT_ROW = TILE_M / 4u + 1u;
override RIGHT_ROW = TILE_N / 4u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<f32>;

var<workgroup> left: array<vec4<f32>, LEFT_ROW * TILE_K>;   // [source channel][result channel]
var<workgroup> right: array<vec4<f32>, RIGHT_ROW * TILE_K>;   // [source channel][pixel]

struct Block { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

// Four pixels of the result: index of channel 0 in `result`, whether the pixel exists, index of the
// image in `source`, and the pixel of the source under its first tap.
struct Pixels { result: vec4<u32>, live: vec4<bool>, origin: vec4<u32>, y: vec4<i32>, x: vec4<i32> }

// The taps that a pixel meets: their number, the step from one to the next in the source, and the
// index in w as first + channel of result * per_result + channel of source * per_source + ...
struct Taps {
  count_y: u32, count_x: u32, step: i32, first: u32, per_result: u32, per_source: u32, per_y: u32, per_x: u32
}

// The four pixels of this invocation, among the pixels (every a + first_y, every b + first_x) of
// the result, numbered by (image, a, b).
fn pixels_at(group: vec3<u32>, groups: vec3<u32>, index: u32, every: u32, first_y: u32, first_x: u32) -> Pixels {
  let number = (group.y * groups.x + group.x) * TILE_N + index % RIGHT_ROW * 4u + vec4<u32>(0u, 1u, 2u, 3u);
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
  let origin = image * dims.channels_source * dims.height_source * dims.width_source;
  return Pixels(at, live, origin, vec4<i32>(y), vec4<i32>(x));
}

fn multiply(pixels: Pixels, taps: Taps, tile_m: u32, index: u32) -> Block {
  let plane = dims.height_source * dims.width_source;
  let last_source = dims.channels_source - 1u;
  // The part of the two tiles that this invocation loads.
  let left_k = index % TILE_K;
  let left_m = index / TILE_K;
  let m = min(tile_m * TILE_M + 4u * left_m + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims.channels_result - 1u))
    * taps.per_result;
  let right_n = index % RIGHT_ROW;
  let right_k = index / RIGHT_ROW;
  let right_step = 256u / RIGHT_ROW;
  var tile: Block;
  for (var tap_y = 0u; tap_y < taps.count_y; tap_y++) {
    for (var tap_x = 0u; tap_x < taps.count_x; tap_x++) {
      let y = pixels.y + taps.step * i32(tap_y);
      let x = pixels.x + taps.step * i32(tap_x);
      let inside = pixels.live & (y >= vec4<i32>(0)) & (y < vec4<i32>(i32(dims.height_source)))
        & (x >= vec4<i32>(0)) & (x < vec4<i32>(i32(dims.width_source)));
      let at = select(vec4<u32>(0u), pixels.origin + vec4<u32>(y) * dims.width_source + vec4<u32>(x), inside);
      let weight = m + taps.first + tap_y * taps.per_y + tap_x * taps.per_x;
      for (var channel = 0u; channel < dims.channels_source; channel += TILE_K) {
        workgroupBarrier();
        if (left_m < TILE_M / 4u) {
          let i = weight + min(channel + left_k, last_source) * taps.per_source;
          left[left_k * LEFT_ROW + left_m] = vec4<f32>(w[i.x], w[i.y], w[i.z], w[i.w]);
        }
        for (var k = right_k; k < TILE_K; k += right_step) {
          let i = at + min(channel + k, last_source) * plane;
          let v = vec4<f32>(source[i.x], source[i.y], source[i.z], source[i.w]);
          right[k * RIGHT_ROW + right_n] = select(vec4<f32>(0.0), v, inside & vec4<bool>(channel + k <= last_source));
        }
        workgroupBarrier();
        for (var k = 0u; k < TILE_K; k++) {
          let l = left[k * LEFT_ROW + right_k];
          let r = right[k * RIGHT_ROW + right_n];
          tile.r0 += l.x * r;
          tile.r1 += l.y * r;
          tile.r2 += l.z * r;
          tile.r3 += l.w * r;
        }
      }
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
  let live = channel < dims.channels_result;
  put(at.x, v.x, live && pixels.live.x);
  put(at.y, v.y, live && pixels.live.y);
  put(at.z, v.z, live && pixels.live.z);
  put(at.w, v.w, live && pixels.live.w);
}

@group(0) @binding(5) var<storage, read> addend: array<f32>;

// Four pixels of a channel, plus the addend.
fn sum_of(pixels: Pixels, channel: u32, v: vec4<f32>) -> vec4<f32> {
  let plane = dims.height_result * dims.width_result;
  // Pixels and channels past the end read element 0, and are not stored.
  let live = pixels.live & vec4<bool>(channel < dims.channels_result);
  if (ADDEND_KIND == MAP) {
    let i = select(vec4<u32>(), pixels.result + channel * plane, live);
    return v + vec4<f32>(addend[i.x], addend[i.y], addend[i.z], addend[i.w]);
  }
  if (ADDEND_KIND == CHANNELS) {
    let image = pixels.result / (dims.channels_result * plane);
    let i = select(vec4<u32>(), image * dims.addend_width + dims.addend_first + channel, live);
    return v + vec4<f32>(addend[i.x], addend[i.y], addend[i.z], addend[i.w]);
  }
  return v;
}

@compute @workgroup_size(256)
fn forward(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let area = dims.kernel * dims.kernel;
  var pixels = pixels_at(group, groups, index, 1u, 0u, 0u);
  pixels.y = pixels.y * i32(dims.stride) - i32(dims.pad);
  pixels.x = pixels.x * i32(dims.stride) - i32(dims.pad);
  let taps = Taps(dims.kernel, dims.kernel, 1, 0u, dims.channels_source * area, area, dims.kernel, 1u);
  let tile = multiply(pixels, taps, group.z, index);
  let channel = group.z * TILE_M + 4u * (index / RIGHT_ROW);
  let o = min(channel + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims.channels_result - 1u));
  put_row(pixels, channel, sum_of(pixels, channel, tile.r0 + b[o.x]));
  put_row(pixels, channel + 1u, sum_of(pixels, channel + 1u, tile.r1 + b[o.y]));
  put_row(pixels, channel + 2u, sum_of(pixels, channel + 2u, tile.r2 + b[o.z]));
  put_row(pixels, channel + 3u, sum_of(pixels, channel + 3u, tile.r3 + b[o.w]));
}

@compute @workgroup_size(256)
fn backward_input(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let area = dims.kernel * dims.kernel;
  let every = dims.stride;
  let first_y = group.z / every % every;
  let first_x = group.z % every;
  let tile_m = group.z / (every * every);
  // The first tap that a pixel with these remainders meets, and how many it meets.
  let tap_y = (first_y + dims.pad) % every;
  let tap_x = (first_x + dims.pad) % every;
  let count_y = (dims.kernel + every - 1u - tap_y) / every;
  let count_x = (dims.kernel + every - 1u - tap_x) / every;
  var pixels = pixels_at(group, groups, index, every, first_y, first_x);
  pixels.y += i32((first_y + dims.pad) / every);
  pixels.x += i32((first_x + dims.pad) / every);
  let taps = Taps(
    count_y, count_x, -1, tap_y * dims.kernel + tap_x, area, dims.channels_result * area, every * dims.kernel, every,
  );
  let tile = multiply(pixels, taps, tile_m, index);
  let channel = tile_m * TILE_M + 4u * (index / RIGHT_ROW);
  put_row(pixels, channel, tile.r0);
  put_row(pixels, channel + 1u, tile.r1);
  put_row(pixels, channel + 2u, tile.r2);
  put_row(pixels, channel + 3u, tile.r3);
}
