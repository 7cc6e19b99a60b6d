// Gradient of the weights of a convolution with a kernel of 3 x 3 and stride 1 in the Winograd
// domain F(4x4, 3x3) (Lavin and Gray 2016), first step: the transform of dy.
//
//   spread  d[b,i,j,o,:] = (A t A^T)[i,j]   t: a tile of 4 x 4 pixels of dy, A [6, 4]
//           partial[b,:] = sum of the pixels of block b
//
// A is the Vandermonde matrix of the points 0, 3/4, -3/4, 3/2, -3/2 and infinity. They need half
// the rounding error of 0, 1, -1, 2, -2. conv2d_winograd_weight_wide.wgsl multiplies d with the
// transformed x, and row_sums.wgsl adds the partial sums of the bias.
//
// dy       [batch, channels, height, width]; dy4, dy2 and dy1 are the same tensor
// d        [blocks of this call, 36, channels, L, 8]
// partial  [blocks of all calls, channels]
//
// A block has 8 L columns. A lane owns the same tile of 8 images, so that it stores 8 numbers at
// once. Tiles are numbered by groups of 8 images, then rows, then columns. Pixels outside of the
// image or the batch are 0. One workgroup is one subgroup. Grid: (channels, blocks of this call).
// For a tile, FLOPs are about 140 and bytes 4 (16 + 36). Stores take 60 % of the time, loads 39 %.

struct Dims { batch: u32, channels: u32, height: u32, width: u32, first: u32 }   // first: first block

override WORD: u32;   // numbers per load: 4 if 4 divides the width, 2 if 2 divides it, or 1

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy4: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> dy2: array<u64>;
@group(0) @binding(3) var<storage, read> dy1: array<f32>;
@group(0) @binding(4) var<storage, read_write> d: array<vec4<u64>>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;

const SIDE = 4u;          // of a tile
const POINTS = 6u;
const IMAGES = 8u;

// Even and odd images of a row or column of pixels: [pixel][2].
alias Line = array<vec4<f32>, 2u * SIDE>;
alias Patch = array<vec4<f32>, 2u * SIDE * SIDE>;

// Column of a tile, with the range of pixels and images inside of dy.
struct Place { image: u32, images: u32, channel: u32, y: u32, x: u32 }

// Row r of the tile of image e. Outside of dy the index is clamped and the value is 0.
fn pixels(at: Place, r: u32, e: u32) -> vec4<f32> {
  let image = min(at.image + e, dims.batch - 1u);
  let y = min(at.y + r, dims.height - 1u);
  let row = ((image * dims.channels + at.channel) * dims.height + y) * dims.width;
  let live = e < at.images && at.y + r < dims.height;
  var p: vec4<f32>;
  if (WORD == 4u) {
    p = unpack(dy4[(row + at.x) / 4u]);
  } else if (WORD == 2u) {
    let more = at.x + 2u < dims.width;
    let i = (row + at.x) / 2u;
    p = unpack(vec2<u64>(dy2[i], dy2[select(i, i + 1u, more)]));
    p = vec4<f32>(p.xy, select(vec2<f32>(), p.zw, more));
  } else {
    let room = dims.width - 1u - at.x;
    let i = row + at.x;
    p = vec4<f32>(dy1[i], dy1[i + min(1u, room)], dy1[i + min(2u, room)], dy1[i + min(3u, room)]);
    p = select(vec4<f32>(), p, vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(room));
  }
  return select(vec4<f32>(), p, live);
}

fn load(tile: ptr<function, Patch>, at: Place, r: u32) {
  let even = transpose(mat4x4(pixels(at, r, 0u), pixels(at, r, 2u), pixels(at, r, 4u), pixels(at, r, 6u)));
  let odd = transpose(mat4x4(pixels(at, r, 1u), pixels(at, r, 3u), pixels(at, r, 5u), pixels(at, r, 7u)));
  for (var c = 0u; c < SIDE; c++) {
    (*tile)[2u * (SIDE * r + c)] = even[c];
    (*tile)[2u * (SIDE * r + c) + 1u] = odd[c];
  }
}

// Points p and -p of A: the even and the odd powers.
struct Halves { even: vec4<f32>, odd: vec4<f32> }

fn halves(p: f32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, e: vec4<f32>) -> Halves {
  return Halves(a + p * p * c, p * b + p * p * p * e);
}

// Stores point k of the columns.
fn save(to: u32, k: u32, even: vec4<f32>, odd: vec4<f32>) {
  d[to + k * dims.channels * L] = interleave(even, odd);
}

// Transforms a row along its columns and stores it.
fn finish(line: ptr<function, Line>, to: u32) {
  let e1 = halves(0.75, (*line)[0], (*line)[2], (*line)[4], (*line)[6]);
  let o1 = halves(0.75, (*line)[1], (*line)[3], (*line)[5], (*line)[7]);
  let e2 = halves(1.5, (*line)[0], (*line)[2], (*line)[4], (*line)[6]);
  let o2 = halves(1.5, (*line)[1], (*line)[3], (*line)[5], (*line)[7]);
  save(to, 0u, (*line)[0], (*line)[1]);
  save(to, 1u, e1.even + e1.odd, o1.even + o1.odd);
  save(to, 2u, e1.even - e1.odd, o1.even - o1.odd);
  save(to, 3u, e2.even + e2.odd, o2.even + o2.odd);
  save(to, 4u, e2.even - e2.odd, o2.even - o2.odd);
  save(to, 5u, (*line)[6], (*line)[7]);
}

// The row of point p, and of -p.
fn rows(tile: ptr<function, Patch>, p: f32, to: u32) {
  let row = POINTS * dims.channels * L;
  var plus: Line;
  var minus: Line;
  for (var c = 0u; c < 2u * SIDE; c++) {
    let h = halves(p, (*tile)[c], (*tile)[8u + c], (*tile)[16u + c], (*tile)[24u + c]);
    plus[c] = h.even + h.odd;
    minus[c] = h.even - h.odd;
  }
  finish(&plus, to);
  finish(&minus, to + row);
}

// Row r of the tile: the point 0, or infinity.
fn copy(tile: ptr<function, Patch>, r: u32, to: u32) {
  var line: Line;
  for (var c = 0u; c < 2u * SIDE; c++) {
    line[c] = (*tile)[2u * SIDE * r + c];
  }
  finish(&line, to);
}

@compute @workgroup_size(L)
fn spread(lane: Lane) {
  let across = (dims.width + SIDE - 1u) / SIDE;
  let tiles = across * ((dims.height + SIDE - 1u) / SIDE);
  let groups = (dims.batch + IMAGES - 1u) / IMAGES;
  let block = dims.first + lane.workgroup.y;
  let column = block * L + lane.index;
  let group = min(column / tiles, groups - 1u);
  let at = Place(
    IMAGES * group, select(0u, dims.batch - IMAGES * group, column < tiles * groups),
    lane.workgroup.x, SIDE * (column % tiles / across), SIDE * (column % tiles % across),
  );
  var tile: Patch;
  load(&tile, at, 0u);
  load(&tile, at, 1u);
  load(&tile, at, 2u);
  load(&tile, at, 3u);
  var sum: vec4<f32>;
  for (var i = 0u; i < 2u * SIDE * SIDE; i++) {
    sum += tile[i];
  }
  let total = subgroupAdd(sum.x + sum.y + sum.z + sum.w);
  if (lane.index == 0u) {
    partial[block * dims.channels + at.channel] = total;
  }
  let row = POINTS * dims.channels * L;
  let to = (lane.workgroup.y * POINTS * POINTS * dims.channels + at.channel) * L + lane.index;
  copy(&tile, 0u, to);
  rows(&tile, 0.75, to + row);
  rows(&tile, 1.5, to + 3u * row);
  copy(&tile, 3u, to + 5u * row);
}
