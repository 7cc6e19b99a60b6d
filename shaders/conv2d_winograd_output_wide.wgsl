// Third step of the convolution by Winograd's algorithm (see conv2d_winograd_input_wide.wgsl): the
// transform of the sums to pixels.
//
//   output_4, output_2, output_1  result (+)= A^T m A + bias, for a width that is a
//                                 multiple of 4, a multiple of 2, or any
//
// m                 [blocks, 36, rows, L, IMAGES], a column for each tile as in v
// u                 the transformed weights; only the bias at index `bias` is read, [channels]
// result            [batch, channels, height, width]
//
// One workgroup is one subgroup and computes one channel of one block: grid (channels, blocks),
// from block `first` on. A lane owns the same tile of IMAGES images. All arithmetic is on vectors
// over images, and on values, not on arrays in variables. Only finished pixels are transposed. With
// an array of numbers for each image the driver needs ten times as long to create the pipeline.
// FLOPs 160 + 16 per tile; per tile 36 numbers are read and up to 16 are written.

struct Dims { batch: u32, channels: u32, rows: u32, height: u32, width: u32, first: u32, bias: u32, add: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> m: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> result_4: array<vec2<u64>>;

const IMAGES = 8u;   // of a lane: the numbers in a vec4<u64>

// The first image and the first pixel of a tile. `live`: it exists.
struct Place { image: u32, y: u32, x: u32, live: bool }

fn place_of(number: u32) -> Place {
  let across = (dims.width + 3u) / 4u;
  let tiles = (dims.height + 3u) / 4u * across;
  let groups = (dims.batch + IMAGES - 1u) / IMAGES;
  let at = min(number, groups * tiles - 1u);
  let tile = at % tiles;
  return Place(at / tiles * IMAGES, 4u * (tile / across), 4u * (tile % across), number < groups * tiles);
}

// Index of the first element of a lane in m.
fn first_of(lane: Lane) -> u32 {
  return (lane.workgroup.y * 36u * dims.rows + lane.workgroup.x) * L + lane.index;
}

// The four columns of m A for one row of m, or the four rows of A^T m for one column.
fn interpolate(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>) -> mat4x4<f32> {
  let sum_1 = b + c;
  let sum_2 = d + e;
  let difference_1 = b - c;
  let difference_2 = d - e;
  return mat4x4<f32>(
    a + sum_1 + sum_2,
    0.75 * difference_1 + 1.5 * difference_2,
    0.5625 * sum_1 + 2.25 * sum_2,
    0.421875 * difference_1 + 3.375 * difference_2 + f,
  );
}

// Row r of m A of the even and of the odd images: a vector for each pixel.
struct Row { even: mat4x4<f32>, odd: mat4x4<f32> }

// `start`: the first element of this lane.
fn row(start: u32, r: u32) -> Row {
  let step = dims.rows * L;
  let at = start + 6u * r * step;
  let a = m[at];
  let b = m[at + step];
  let c = m[at + 2u * step];
  let d = m[at + 3u * step];
  let e = m[at + 4u * step];
  let f = m[at + 5u * step];
  return Row(
    interpolate(even(a), even(b), even(c), even(d), even(e), even(f)),
    interpolate(odd(a), odd(b), odd(c), odd(d), odd(e), odd(f)),
  );
}

// A row of pixels of four images: a column for each image. p, q, r, s: the vectors of the pixels.
fn line(p: vec4<f32>, q: vec4<f32>, r: vec4<f32>, s: vec4<f32>, bias: f32) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(p + bias, q + bias, r + bias, s + bias));
}

// The tiles of four images of a lane: index of the first pixel, and rows inside of the image. A
// tile outside of the batch has no rows.
struct Tiles { first: vec4<u32>, rows: vec4<u32> }

// `images`: their numbers.
fn tiles_of(lane: Lane, at: Place, images: vec4<u32>) -> Tiles {
  let image = at.image + images;
  let first = ((image * dims.channels + lane.workgroup.x) * dims.height + at.y) * dims.width + at.x;
  let live = vec4<bool>(at.live) & (image < vec4<u32>(dims.batch));
  return Tiles(first, select(vec4<u32>(), vec4<u32>(dims.height - at.y), live));
}

fn put_4(first: u32, live: bool, value: vec4<f32>) {
  if (live) {
    let at = first / 4u;
    var sum = value;
    if (dims.add > 0u) {
      sum += unpack(result_4[at]);
    }
    result_4[at] = pack(sum);
  }
}

// Row y of the tiles.
fn row_4(tiles: Tiles, y: u32, pixels: mat4x4<f32>) {
  let at = tiles.first + y * dims.width;
  let live = tiles.rows > vec4<u32>(y);
  put_4(at.x, live.x, pixels[0]);
  put_4(at.y, live.y, pixels[1]);
  put_4(at.z, live.z, pixels[2]);
  put_4(at.w, live.w, pixels[3]);
}

// The tiles of four images. a to f: the rows of m A.
fn store_4(
  lane: Lane, at: Place, images: vec4<u32>,
  a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>, e: mat4x4<f32>, f: mat4x4<f32>,
) {
  let tiles = tiles_of(lane, at, images);
  let bias = u[dims.bias + lane.workgroup.x];
  let p = interpolate(a[0], b[0], c[0], d[0], e[0], f[0]);
  let q = interpolate(a[1], b[1], c[1], d[1], e[1], f[1]);
  let r = interpolate(a[2], b[2], c[2], d[2], e[2], f[2]);
  let s = interpolate(a[3], b[3], c[3], d[3], e[3], f[3]);
  row_4(tiles, 0u, line(p[0], q[0], r[0], s[0], bias));
  row_4(tiles, 1u, line(p[1], q[1], r[1], s[1], bias));
  row_4(tiles, 2u, line(p[2], q[2], r[2], s[2], bias));
  row_4(tiles, 3u, line(p[3], q[3], r[3], s[3], bias));
}

@compute @workgroup_size(L)
fn output_4(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let start = first_of(lane);
  let a = row(start, 0u);
  let b = row(start, 1u);
  let c = row(start, 2u);
  let d = row(start, 3u);
  let e = row(start, 4u);
  let f = row(start, 5u);
  store_4(lane, at, vec4<u32>(0u, 2u, 4u, 6u), a.even, b.even, c.even, d.even, e.even, f.even);
  store_4(lane, at, vec4<u32>(1u, 3u, 5u, 7u), a.odd, b.odd, c.odd, d.odd, e.odd, f.odd);
}

@group(0) @binding(3) var<storage, read_write> result_2: array<u64>;

// `more`: the third and the fourth pixel exist.
fn put_2(first: u32, live: bool, more: bool, value: vec4<f32>) {
  if (live) {
    let at = first / 2u;
    var sum = value;
    if (dims.add > 0u) {
      sum += vec4<f32>(split(result_2[at]), split(result_2[select(at, at + 1u, more)]));
    }
    result_2[at] = join(sum.xy);
    if (more) {
      result_2[at + 1u] = join(sum.zw);
    }
  }
}

fn split(v: u64) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(u32(v)), bitcast<f32>(u32(v >> 32u)));
}

fn join(v: vec2<f32>) -> u64 {
  return u64(bitcast<u32>(v.x)) | (u64(bitcast<u32>(v.y)) << 32u);
}

// Row y of the tiles.
fn row_2(tiles: Tiles, y: u32, more: bool, pixels: mat4x4<f32>) {
  let at = tiles.first + y * dims.width;
  let live = tiles.rows > vec4<u32>(y);
  put_2(at.x, live.x, more, pixels[0]);
  put_2(at.y, live.y, more, pixels[1]);
  put_2(at.z, live.z, more, pixels[2]);
  put_2(at.w, live.w, more, pixels[3]);
}

// The tiles of four images. a to f: the rows of m A.
fn store_2(
  lane: Lane, at: Place, images: vec4<u32>,
  a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>, e: mat4x4<f32>, f: mat4x4<f32>,
) {
  let tiles = tiles_of(lane, at, images);
  let more = at.x + 2u < dims.width;
  let bias = u[dims.bias + lane.workgroup.x];
  let p = interpolate(a[0], b[0], c[0], d[0], e[0], f[0]);
  let q = interpolate(a[1], b[1], c[1], d[1], e[1], f[1]);
  let r = interpolate(a[2], b[2], c[2], d[2], e[2], f[2]);
  let s = interpolate(a[3], b[3], c[3], d[3], e[3], f[3]);
  row_2(tiles, 0u, more, line(p[0], q[0], r[0], s[0], bias));
  row_2(tiles, 1u, more, line(p[1], q[1], r[1], s[1], bias));
  row_2(tiles, 2u, more, line(p[2], q[2], r[2], s[2], bias));
  row_2(tiles, 3u, more, line(p[3], q[3], r[3], s[3], bias));
}

@compute @workgroup_size(L)
fn output_2(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let start = first_of(lane);
  let a = row(start, 0u);
  let b = row(start, 1u);
  let c = row(start, 2u);
  let d = row(start, 3u);
  let e = row(start, 4u);
  let f = row(start, 5u);
  store_2(lane, at, vec4<u32>(0u, 2u, 4u, 6u), a.even, b.even, c.even, d.even, e.even, f.even);
  store_2(lane, at, vec4<u32>(1u, 3u, 5u, 7u), a.odd, b.odd, c.odd, d.odd, e.odd, f.odd);
}

@group(0) @binding(1) var<storage, read> m_halves: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read_write> result_1: array<f32>;

// `room`: pixels from the first one to the end of the row.
fn put_1(at: u32, live: bool, room: u32, value: vec4<f32>) {
  if (live) {
    var sum = value;
    if (dims.add > 0u) {
      sum += vec4<f32>(
        result_1[at], result_1[select(at, at + 1u, room > 1u)],
        result_1[select(at, at + 2u, room > 2u)], result_1[select(at, at + 3u, room > 3u)],
      );
    }
    result_1[at] = sum.x;
    if (room > 1u) {
      result_1[at + 1u] = sum.y;
    }
    if (room > 2u) {
      result_1[at + 2u] = sum.z;
    }
    if (room > 3u) {
      result_1[at + 3u] = sum.w;
    }
  }
}

// Loads element k of half of the images.
fn half_of(start: u32, half: u32, k: u32) -> vec4<f32> {
  return unpack(m_halves[2u * (start + k * dims.rows * L) + half]);
}

// Row r of m A of half of the images.
fn half_row(start: u32, half: u32, r: u32) -> mat4x4<f32> {
  let k = 6u * r;
  return interpolate(
    half_of(start, half, k), half_of(start, half, k + 1u), half_of(start, half, k + 2u),
    half_of(start, half, k + 3u), half_of(start, half, k + 4u), half_of(start, half, k + 5u),
  );
}

// Row y of the tiles.
fn row_1(tiles: Tiles, y: u32, room: u32, pixels: mat4x4<f32>) {
  let at = tiles.first + y * dims.width;
  let live = tiles.rows > vec4<u32>(y);
  put_1(at.x, live.x, room, pixels[0]);
  put_1(at.y, live.y, room, pixels[1]);
  put_1(at.z, live.z, room, pixels[2]);
  put_1(at.w, live.w, room, pixels[3]);
}

// The tiles of four images. a to f: the rows of m A.
fn store_1(
  lane: Lane, at: Place, images: vec4<u32>,
  a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>, e: mat4x4<f32>, f: mat4x4<f32>,
) {
  let tiles = tiles_of(lane, at, images);
  let room = dims.width - at.x;
  let bias = u[dims.bias + lane.workgroup.x];
  let p = interpolate(a[0], b[0], c[0], d[0], e[0], f[0]);
  let q = interpolate(a[1], b[1], c[1], d[1], e[1], f[1]);
  let r = interpolate(a[2], b[2], c[2], d[2], e[2], f[2]);
  let s = interpolate(a[3], b[3], c[3], d[3], e[3], f[3]);
  row_1(tiles, 0u, room, line(p[0], q[0], r[0], s[0], bias));
  row_1(tiles, 1u, room, line(p[1], q[1], r[1], s[1], bias));
  row_1(tiles, 2u, room, line(p[2], q[2], r[2], s[2], bias));
  row_1(tiles, 3u, room, line(p[3], q[3], r[3], s[3], bias));
}

// In two passes of half of the images: half of the code, which has many stores and compiles slowly.
@compute @workgroup_size(L)
fn output_1(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let start = first_of(lane);
  for (var half = 0u; half < 2u; half++) {
    store_1(
      lane, at, 4u * half + vec4<u32>(0u, 1u, 2u, 3u),
      half_row(start, half, 0u), half_row(start, half, 1u), half_row(start, half, 2u),
      half_row(start, half, 3u), half_row(start, half, 4u), half_row(start, half, 5u),
    );
  }
}
