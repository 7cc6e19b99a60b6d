// Convolution with a kernel of 3 x 3, stride 1 and a border of one zero, by Winograd's algorithm
// F(4x4, 3x3) (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks"). First of
// three steps: the transform of the source.
//
//   transform  v = B^T d B for every patch d of 6 x 6 pixels
//   then       m = sum over channels of u v   conv2d_winograd_product_wide.wgsl
//              result = A^T m A + bias        conv2d_winograd_output_wide.wgsl
//   where      u = G g G^T of the kernel g    conv2d_winograd_weights_wide.wgsl
//
// The polynomials are evaluated at 0, 3/4, -3/4, 3/2, -3/2 and infinity. The rounding error is half
// of that of the usual points 0, 1, -1, 2, -2 and infinity.
//
// source  [batch, channels, height, width], bound as source_4, source_2 and source_1
// v       [blocks, 36, channels, L, IMAGES]
//
// A tile is 4 x 4 pixels of the result, and its patch has one pixel more on each side. Tiles at the
// right and at the bottom may lie partly outside. A column of v is a tile of one image. Lane l of
// block b owns tile number t = b L + l of IMAGES images: tiles are numbered through the groups of
// IMAGES images, the rows and the columns. So a lane loads and stores IMAGES numbers at once. Images
// and tiles past the end repeat the last one.
//
// One workgroup is one subgroup and computes one channel of one block: grid (channels, blocks). The
// first block is an argument, because a convolution is computed in parts whose v stays in the cache.
//
// A lane loads the four inner pixels of each row of a patch. Its neighbors hold the two outer ones,
// if they own the next tiles of the same row. With EDGES the first and the last lane need a pixel
// that no lane holds. Then lane r loads these pixels of row r. EDGES is not needed if the tiles in a
// row divide L.
//
// FLOPs 264 per patch and 144 bytes written; 24 + (2 with EDGES) numbers read per patch.

struct Dims { batch: u32, channels: u32, height: u32, width: u32, first: u32 }

override PIXELS: u32;   // in an element: 4, 2 or 1; it must divide the width
override EDGES: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source_4: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> source_2: array<u64>;
@group(0) @binding(3) var<storage, read> source_1: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<vec4<u64>>;

const IMAGES = 8u;   // of a lane: the numbers in a vec4<u64>

alias Six = array<f32, 6>;
alias Patch = array<f32, 36>;
alias Patches = array<Patch, IMAGES>;

// The first image and the first pixel of a tile.
struct Place { image: u32, y: u32, x: u32 }

fn place_of(number: u32) -> Place {
  let across = (dims.width + 3u) / 4u;
  let tiles = (dims.height + 3u) / 4u * across;
  let groups = (dims.batch + IMAGES - 1u) / IMAGES;
  let at = min(number, groups * tiles - 1u);
  let tile = at % tiles;
  return Place(at / tiles * IMAGES, 4u * (tile / across), 4u * (tile % across));
}

// Index of row r of the patch in its plane.
fn line(at: Place, r: u32) -> u32 {
  return u32(clamp(i32(at.y + r) - 1, 0, i32(dims.height) - 1)) * dims.width;
}

// Four pixels from x on, of the row that starts at an index. Zeros outside.
fn pixels(row: u32, x: u32) -> vec4<f32> {
  if (PIXELS == 4u) {
    return unpack(source_4[(row + x) / 4u]);
  }
  if (PIXELS == 2u) {
    let more = x + 2u < dims.width;
    let at = (row + x) / 2u;
    let p = unpack(vec2<u64>(source_2[at], source_2[select(at, at + 1u, more)]));
    return select(vec4<f32>(p.xy, 0.0, 0.0), p, more);
  }
  let room = dims.width - x;
  let at = row + x;
  return vec4<f32>(
    source_1[at],
    select(0.0, source_1[select(at, at + 1u, room > 1u)], room > 1u),
    select(0.0, source_1[select(at, at + 2u, room > 2u)], room > 2u),
    select(0.0, source_1[select(at, at + 3u, room > 3u)], room > 3u),
  );
}

// B^T d.
fn evaluate(d: Six) -> Six {
  let even_1 = d[4] - 2.25 * d[2];
  let odd_1 = 0.75 * (d[3] - 2.25 * d[1]);
  let even_2 = d[4] - 0.5625 * d[2];
  let odd_2 = 1.5 * (d[3] - 0.5625 * d[1]);
  return Six(
    1.265625 * d[0] + (d[4] - 2.8125 * d[2]),
    even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2,
    1.265625 * d[1] + (d[5] - 2.8125 * d[3]),
  );
}

// The pixels left of the first lane's tile and right of the last lane's tile: row r in lane r.
struct Edges { left: f32, right: f32 }

fn edges(lane: Lane, at: Place, plane: u32) -> Edges {
  if (!EDGES) {
    return Edges();
  }
  let row = min(lane.index, 5u);
  let first = Place(0u, subgroupShuffle(at.y, 0u), subgroupShuffle(at.x, 0u));
  let last = Place(0u, subgroupShuffle(at.y, L - 1u), subgroupShuffle(at.x, L - 1u));
  return Edges(
    source_1[subgroupShuffle(plane, 0u) + line(first, row) + max(first.x, 1u) - 1u],
    source_1[subgroupShuffle(plane, L - 1u) + line(last, row) + min(last.x + 4u, dims.width - 1u)],
  );
}

// Row r of d B.
fn row(window: ptr<function, Patch>, lane: Lane, at: Place, plane: u32, edge: Edges, r: u32) {
  let y = at.y + r;   // from the border on
  let inside = y >= 1u && y <= dims.height;
  let p = select(vec4<f32>(), pixels(plane + line(at, r), at.x), inside);
  var left = subgroupShuffle(p.w, (lane.index + L - 1u) % L);
  var right = subgroupShuffle(p.x, (lane.index + 1u) % L);
  if (EDGES) {
    left = select(left, select(0.0, subgroupShuffle(edge.left, r), inside), lane.index == 0u);
    right = select(right, select(0.0, subgroupShuffle(edge.right, r), inside), lane.index == L - 1u);
  }
  left = select(left, 0.0, at.x == 0u);
  right = select(right, 0.0, at.x + 4u >= dims.width);
  let d = evaluate(Six(left, p.x, p.y, p.z, p.w, right));
  (*window)[6u * r] = d[0];
  (*window)[6u * r + 1u] = d[1];
  (*window)[6u * r + 2u] = d[2];
  (*window)[6u * r + 3u] = d[3];
  (*window)[6u * r + 4u] = d[4];
  (*window)[6u * r + 5u] = d[5];
}

// Replaces column c of d B by that of B^T d B.
fn column(window: ptr<function, Patch>, c: u32) {
  let d = evaluate(Six(
    (*window)[c], (*window)[6u + c], (*window)[12u + c], (*window)[18u + c], (*window)[24u + c], (*window)[30u + c],
  ));
  (*window)[c] = d[0];
  (*window)[6u + c] = d[1];
  (*window)[12u + c] = d[2];
  (*window)[18u + c] = d[3];
  (*window)[24u + c] = d[4];
  (*window)[30u + c] = d[5];
}

// The transformed patch of the i-th image of a lane.
fn patch_of(lane: Lane, at: Place, channel: u32, i: u32) -> Patch {
  let plane = (min(at.image + i, dims.batch - 1u) * dims.channels + channel) * dims.height * dims.width;
  let edge = edges(lane, at, plane);
  var window: Patch;
  // Mesa unrolls no loop over bodies of this size, and its constant indices keep the patch in
  // registers. So the loops are written out.
  row(&window, lane, at, plane, edge, 0u);
  row(&window, lane, at, plane, edge, 1u);
  row(&window, lane, at, plane, edge, 2u);
  row(&window, lane, at, plane, edge, 3u);
  row(&window, lane, at, plane, edge, 4u);
  row(&window, lane, at, plane, edge, 5u);
  column(&window, 0u);
  column(&window, 1u);
  column(&window, 2u);
  column(&window, 3u);
  column(&window, 4u);
  column(&window, 5u);
  return window;
}

// Stores row r of the patches of all images. `to`: the first element of this lane.
fn store(patches: ptr<function, Patches>, to: u32, r: u32) {
  for (var k = 6u * r; k < 6u * r + 6u; k++) {
    v[to + k * dims.channels * L] = interleave(
      vec4<f32>((*patches)[0][k], (*patches)[2][k], (*patches)[4][k], (*patches)[6][k]),
      vec4<f32>((*patches)[1][k], (*patches)[3][k], (*patches)[5][k], (*patches)[7][k]),
    );
  }
}

@compute @workgroup_size(L)
fn transform(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let channel = lane.workgroup.x;
  var patches: Patches;
  patches[0] = patch_of(lane, at, channel, 0u);
  patches[1] = patch_of(lane, at, channel, 1u);
  patches[2] = patch_of(lane, at, channel, 2u);
  patches[3] = patch_of(lane, at, channel, 3u);
  patches[4] = patch_of(lane, at, channel, 4u);
  patches[5] = patch_of(lane, at, channel, 5u);
  patches[6] = patch_of(lane, at, channel, 6u);
  patches[7] = patch_of(lane, at, channel, 7u);
  let to = (lane.workgroup.y * 36u * dims.channels + channel) * L + lane.index;
  store(&patches, to, 0u);
  store(&patches, to, 1u);
  store(&patches, to, 2u);
  store(&patches, to, 3u);
  store(&patches, to, 4u);
  store(&patches, to, 5u);
}
