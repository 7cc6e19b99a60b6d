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
// One workgroup is one subgroup and computes one channel of one block: grid (channels, blocks), from
// block `first` on. A lane owns the same tile of IMAGES images.
// FLOPs 150 + 16 per tile; per tile 36 numbers are read and up to 16 are written.

struct Dims { batch: u32, channels: u32, rows: u32, height: u32, width: u32, first: u32, bias: u32 }

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> m: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> result_4: array<vec2<u64>>;

const IMAGES = 8u;   // of a lane: the numbers in a vec4<u64>

alias Six = array<f32, 6>;
alias Patch = array<f32, 36>;
alias Patches = array<Patch, IMAGES>;

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

// Loads row r of the patches of all images. `start`: the first element of this lane.
fn load(patches: ptr<function, Patches>, start: u32, r: u32) {
  for (var k = 6u * r; k < 6u * r + 6u; k++) {
    let q = m[start + k * dims.rows * L];
    let a = even(q);
    let b = odd(q);
    (*patches)[0][k] = a.x;
    (*patches)[1][k] = b.x;
    (*patches)[2][k] = a.y;
    (*patches)[3][k] = b.y;
    (*patches)[4][k] = a.z;
    (*patches)[5][k] = b.z;
    (*patches)[6][k] = a.w;
    (*patches)[7][k] = b.w;
  }
}

fn load_all(lane: Lane) -> Patches {
  let start = (lane.workgroup.y * 36u * dims.rows + lane.workgroup.x) * L + lane.index;
  var patches: Patches;
  // The driver unrolls no larger loop.
  load(&patches, start, 0u);
  load(&patches, start, 1u);
  load(&patches, start, 2u);
  load(&patches, start, 3u);
  load(&patches, start, 4u);
  load(&patches, start, 5u);
  return patches;
}

// A^T m.
fn interpolate(m: Six) -> vec4<f32> {
  let sum_1 = m[1] + m[2];
  let sum_2 = m[3] + m[4];
  let difference_1 = m[1] - m[2];
  let difference_2 = m[3] - m[4];
  return vec4<f32>(
    m[0] + sum_1 + sum_2,
    0.75 * difference_1 + 1.5 * difference_2,
    0.5625 * sum_1 + 2.25 * sum_2,
    0.421875 * difference_1 + 3.375 * difference_2 + m[5],
  );
}

// Row r of m A.
fn row(m: Patch, r: u32) -> vec4<f32> {
  return interpolate(Six(m[6u * r], m[6u * r + 1u], m[6u * r + 2u], m[6u * r + 3u], m[6u * r + 4u], m[6u * r + 5u]));
}

// The rows of A^T m A + bias.
fn pixels(m: Patch, bias: f32) -> mat4x4<f32> {
  let a = row(m, 0u);
  let b = row(m, 1u);
  let c = row(m, 2u);
  let d = row(m, 3u);
  let e = row(m, 4u);
  let f = row(m, 5u);
  let columns = mat4x4<f32>(
    interpolate(Six(a.x, b.x, c.x, d.x, e.x, f.x)) + bias,
    interpolate(Six(a.y, b.y, c.y, d.y, e.y, f.y)) + bias,
    interpolate(Six(a.z, b.z, c.z, d.z, e.z, f.z)) + bias,
    interpolate(Six(a.w, b.w, c.w, d.w, e.w, f.w)) + bias,
  );
  return transpose(columns);
}

// Index of the first pixel of a tile in the i-th image, and rows of the tile inside of the image.
struct Target { first: u32, rows: u32 }

fn target_of(lane: Lane, at: Place, i: u32) -> Target {
  let image = at.image + i;
  let first = ((image * dims.channels + lane.workgroup.x) * dims.height + at.y) * dims.width + at.x;
  return Target(first, select(0u, dims.height - at.y, at.live && image < dims.batch));
}

fn put_4(at: u32, live: bool, value: vec4<f32>) {
  if (live) {
    var sum = value;
    if (ADD) {
      sum += unpack(result_4[at]);
    }
    result_4[at] = pack(sum);
  }
}

fn image_4(lane: Lane, at: Place, i: u32, m: Patch) {
  let p = pixels(m, u[dims.bias + lane.workgroup.x]);
  let to = target_of(lane, at, i);
  put_4(to.first / 4u, to.rows > 0u, p[0]);
  put_4((to.first + dims.width) / 4u, to.rows > 1u, p[1]);
  put_4((to.first + 2u * dims.width) / 4u, to.rows > 2u, p[2]);
  put_4((to.first + 3u * dims.width) / 4u, to.rows > 3u, p[3]);
}

@compute @workgroup_size(L)
fn output_4(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let patches = load_all(lane);
  image_4(lane, at, 0u, patches[0]);
  image_4(lane, at, 1u, patches[1]);
  image_4(lane, at, 2u, patches[2]);
  image_4(lane, at, 3u, patches[3]);
  image_4(lane, at, 4u, patches[4]);
  image_4(lane, at, 5u, patches[5]);
  image_4(lane, at, 6u, patches[6]);
  image_4(lane, at, 7u, patches[7]);
}

@group(0) @binding(3) var<storage, read_write> result_2: array<u64>;

// Two pixels.
fn put_2(at: u32, live: bool, value: vec2<f32>) {
  if (live) {
    var sum = value;
    if (ADD) {
      sum += split(result_2[at]);
    }
    result_2[at] = join(sum);
  }
}

fn split(v: u64) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(u32(v)), bitcast<f32>(u32(v >> 32u)));
}

fn join(v: vec2<f32>) -> u64 {
  return u64(bitcast<u32>(v.x)) | (u64(bitcast<u32>(v.y)) << 32u);
}

fn row_2(first: u32, x: u32, live: bool, p: vec4<f32>) {
  put_2(first / 2u, live, p.xy);
  put_2(first / 2u + 1u, live && x + 2u < dims.width, p.zw);
}

fn image_2(lane: Lane, at: Place, i: u32, m: Patch) {
  let p = pixels(m, u[dims.bias + lane.workgroup.x]);
  let to = target_of(lane, at, i);
  row_2(to.first, at.x, to.rows > 0u, p[0]);
  row_2(to.first + dims.width, at.x, to.rows > 1u, p[1]);
  row_2(to.first + 2u * dims.width, at.x, to.rows > 2u, p[2]);
  row_2(to.first + 3u * dims.width, at.x, to.rows > 3u, p[3]);
}

@compute @workgroup_size(L)
fn output_2(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let patches = load_all(lane);
  image_2(lane, at, 0u, patches[0]);
  image_2(lane, at, 1u, patches[1]);
  image_2(lane, at, 2u, patches[2]);
  image_2(lane, at, 3u, patches[3]);
  image_2(lane, at, 4u, patches[4]);
  image_2(lane, at, 5u, patches[5]);
  image_2(lane, at, 6u, patches[6]);
  image_2(lane, at, 7u, patches[7]);
}

@group(0) @binding(3) var<storage, read_write> result_1: array<f32>;

fn put_1(at: u32, live: bool, value: f32) {
  if (live) {
    var sum = value;
    if (ADD) {
      sum += result_1[at];
    }
    result_1[at] = sum;
  }
}

fn row_1(first: u32, x: u32, live: bool, p: vec4<f32>) {
  put_1(first, live, p.x);
  put_1(first + 1u, live && x + 1u < dims.width, p.y);
  put_1(first + 2u, live && x + 2u < dims.width, p.z);
  put_1(first + 3u, live && x + 3u < dims.width, p.w);
}

fn image_1(lane: Lane, at: Place, i: u32, m: Patch) {
  let p = pixels(m, u[dims.bias + lane.workgroup.x]);
  let to = target_of(lane, at, i);
  row_1(to.first, at.x, to.rows > 0u, p[0]);
  row_1(to.first + dims.width, at.x, to.rows > 1u, p[1]);
  row_1(to.first + 2u * dims.width, at.x, to.rows > 2u, p[2]);
  row_1(to.first + 3u * dims.width, at.x, to.rows > 3u, p[3]);
}

@compute @workgroup_size(L)
fn output_1(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let patches = load_all(lane);
  image_1(lane, at, 0u, patches[0]);
  image_1(lane, at, 1u, patches[1]);
  image_1(lane, at, 2u, patches[2]);
  image_1(lane, at, 3u, patches[3]);
  image_1(lane, at, 4u, patches[4]);
  image_1(lane, at, 5u, patches[5]);
  image_1(lane, at, 6u, patches[6]);
  image_1(lane, at, 7u, patches[7]);
}
