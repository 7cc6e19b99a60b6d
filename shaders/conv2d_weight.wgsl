// Gradients of a convolution's weights and bias as a matrix product over pixels: the tiled variant.
//
//   partial  partial_w[split,o,c,r,s] = sum_p dy[n,o,i,j] x[n,c,stride i+r-pad,stride j+s-pad]
//            partial_b[split,o]       = sum_p dy[n,o,i,j]
//            over the pixels p = (n,i,j) of a split
//
// x          [batch, Ci, H, W]
// dy         [batch, Co, H', W']
// partial_w  [splits, Co, Ci, kernel, kernel]; row_sums.wgsl adds the splits
// partial_b  [splits, Co]
//
// The columns of the product are the (c,r,s) of a weight, and one column of ones for the bias. A
// workgroup of 256 computes a tile of TILE_M rows o by TILE_N columns for the `chunk` pixels of a
// split (workgroup z); an invocation computes 4 by 4 of them. TILE_K pixels at a time are loaded
// into workgroup memory. Grid: (tiles of columns, tiles of rows, splits).
// FLOPs 2 batch H' W' Co (Ci kernel^2 + 1); bytes at least one pass over x and dy.

struct Dims {
  batch: u32, channels_in: u32, height_in: u32, width_in: u32, channels_out: u32, height: u32, width: u32,
  kernel: u32, stride: u32, pad: u32,
  chunk: u32,   // pixels of a split
}

override TILE_M: u32;   // 32 or 64: rows of a tile
override TILE_N = TILE_ELEMENTS / TILE_M;
const TILE_ELEMENTS = 4096u;    // 16 for each of the 256 invocations
const TILE_K = 16u;
// In vec4s. One more than needed, so that lanes that store a column use different memory banks.
override LEFT_ROW = TILE_M / 4u + 1u;
override RIGHT_ROW = TILE_N / 4u + 1u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

var<workgroup> left: array<vec4<f32>, LEFT_ROW * TILE_K>;      // [pixel][o]
var<workgroup> right: array<vec4<f32>, RIGHT_ROW * TILE_K>;    // [pixel][c,r,s]

// Four columns of the product: their numbers, the indices of plane c of the first image, and the
// offsets of the taps. The column after the last tap is the bias.
struct Columns { number: vec4<u32>, plane: vec4<u32>, y: vec4<i32>, x: vec4<i32> }

fn columns_at(first: u32, count: u32) -> Columns {
  let number = first + vec4<u32>(0u, 1u, 2u, 3u);
  let known = min(number, vec4<u32>(count - 1u));
  let tap = known % (dims.kernel * dims.kernel);
  let plane = known / (dims.kernel * dims.kernel) * dims.height_in * dims.width_in;
  let pad = i32(dims.pad);
  return Columns(number, plane, vec4<i32>(tap / dims.kernel) - pad, vec4<i32>(tap % dims.kernel) - pad);
}

@compute @workgroup_size(256)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let count = dims.channels_in * dims.kernel * dims.kernel;
  let area = dims.height * dims.width;
  let begin = group.z * dims.chunk;
  let end = min(begin + dims.chunk, dims.batch * area);

  // This invocation loads one pixel of four channels of dy, and of four columns (TILE_M = 64) or
  // eight.
  let k = index % TILE_K;
  let part = index / TILE_K;
  let o = min(group.y * TILE_M + 4u * part + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims.channels_out - 1u)) * area;
  let near = columns_at(group.x * TILE_N + 4u * part, count);
  let far = columns_at(group.x * TILE_N + 4u * part + 64u, count);

  // It computes this row and this column, in units of 4.
  let row = index / (TILE_N / 4u);
  let column = index % (TILE_N / 4u);
  var r0: vec4<f32>;
  var r1: vec4<f32>;
  var r2: vec4<f32>;
  var r3: vec4<f32>;
  for (var first = begin; first < end; first += TILE_K) {
    let live = first + k < end;
    let pixel = min(first + k, end - 1u);
    let image = pixel / area;
    let at = pixel % area;
    let corner = vec2<u32>(at % dims.width, at / dims.width) * dims.stride;
    workgroupBarrier();
    if (part < TILE_M / 4u) {
      let i = o + image * dims.channels_out * area + at;
      left[k * LEFT_ROW + part] = select(vec4<f32>(0.0), vec4<f32>(dy[i.x], dy[i.y], dy[i.z], dy[i.w]), live);
    }
    right[k * RIGHT_ROW + part] = gather(near, image, corner, count);
    if (TILE_N == 128u) {
      right[k * RIGHT_ROW + part + 16u] = gather(far, image, corner, count);
    }
    workgroupBarrier();
    for (var i = 0u; i < TILE_K; i++) {
      let l = left[i * LEFT_ROW + row];
      let r = right[i * RIGHT_ROW + column];
      r0 += l.x * r;
      r1 += l.y * r;
      r2 += l.z * r;
      r3 += l.w * r;
    }
  }
  let channel = group.y * TILE_M + 4u * row;
  let n = group.x * TILE_N + 4u * column;
  put_row(group.z, channel, n, count, r0);
  put_row(group.z, channel + 1u, n, count, r1);
  put_row(group.z, channel + 2u, n, count, r2);
  put_row(group.z, channel + 3u, n, count, r3);
}

// x at the taps of four columns for the pixel whose first tap is at `corner`: zero outside, one for
// the bias.
fn gather(columns: Columns, image: u32, corner: vec2<u32>, count: u32) -> vec4<f32> {
  let row = columns.y + i32(corner.y);
  let column = columns.x + i32(corner.x);
  let inside = (row >= vec4<i32>(0)) & (row < vec4<i32>(i32(dims.height_in)))
    & (column >= vec4<i32>(0)) & (column < vec4<i32>(i32(dims.width_in)));
  let origin = columns.plane + image * dims.channels_in * dims.height_in * dims.width_in;
  let i = select(vec4<u32>(0u), origin + vec4<u32>(row) * dims.width_in + vec4<u32>(column), inside);
  let v = select(vec4<f32>(0.0), vec4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]), inside);
  return select(v, vec4<f32>(1.0), columns.number >= vec4<u32>(count));
}

fn put_row(split: u32, o: u32, n: u32, count: u32, v: vec4<f32>) {
  put(split, o, n, count, v.x);
  put(split, o, n + 1u, count, v.y);
  put(split, o, n + 2u, count, v.z);
  put(split, o, n + 3u, count, v.w);
}

fn put(split: u32, o: u32, n: u32, count: u32, v: f32) {
  if (o < dims.channels_out) {
    let row = split * dims.channels_out + o;
    if (n < count) {
      partial_w[row * count + n] = v;
    } else if (n == count) {
      partial_b[row] = v;
    }
  }
}
