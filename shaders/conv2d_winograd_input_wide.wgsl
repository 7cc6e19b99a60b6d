// Convolution with a kernel of 3 x 3, stride 1 and a border of one zero, by Winograd's algorithm
// F(4x4, 3x3) (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks"). First of
// three steps: the transform of the source.
//
//   transform  v = B^T d B for every patch d of 6 x 6 pixels; transform_halves is the same
//   then       m = sum over channels of u v   conv2d_winograd_product_wide.wgsl
//              result = A^T m A + bias        conv2d_winograd_output_wide.wgsl
//   where      u = G g G^T of the kernel g    conv2d_winograd_weights_wide.wgsl
//
// The polynomials are evaluated at 0, 3/4, -3/4, 3/2, -3/2 and infinity. The usual points
// 0, 1, -1, 2, -2 and infinity have twice the rounding error.
//
// source  [batch, channels, height, width], bound as source_4, source_2 and source_1
// v       [blocks, 36, channels, L, IMAGES]
//
// A tile is 4 x 4 pixels of the result, and its patch has one pixel more on each side. Tiles at the
// right and at the bottom may lie partly outside. A column of v is a tile of one image. Lane l of
// block b owns tile number t = b L + l of IMAGES images: tiles are numbered through the groups of
// IMAGES images, the rows and the columns. So a lane loads and stores IMAGES numbers at once.
// Images and tiles past the end repeat the last one.
//
// One workgroup is one subgroup of 8 lanes and computes one channel of one block: grid
// (channels, blocks). The first block is an argument, because a convolution is computed in parts
// whose v stays in the cache.
//
// A lane loads the four inner pixels of each row of a patch. Its neighbors hold the two outer ones,
// if they own the next tiles of the same row. With EDGES the first and the last lane need a pixel
// that no lane holds. Then lane r loads these pixels of row r. EDGES is not needed if the number of
// tiles in a row divides L.
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

// All arithmetic is on vectors over four images, and on values, not on arrays in variables: with an
// array of numbers for each image the driver needs three times as long to create the pipeline. So
// some loops are written out.
alias Six = array<vec4<f32>, 6>;

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
fn evaluate(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>) -> Six {
  let even_1 = e - 2.25 * c;
  let odd_1 = 0.75 * (d - 2.25 * b);
  let even_2 = e - 0.5625 * c;
  let odd_2 = 1.5 * (d - 0.5625 * b);
  return Six(
    1.265625 * a + (e - 2.8125 * c),
    even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2,
    1.265625 * b + (f - 2.8125 * d),
  );
}

// Four images of a lane: indices of their planes, and the pixels left of the first lane's tile and
// right of the last lane's tile, with row r in lane r.
struct Images { planes: vec4<u32>, left: vec4<f32>, right: vec4<f32> }

// Images number `i` of the lane.
fn images(lane: Lane, at: Place, i: vec4<u32>) -> Images {
  let image = min(at.image + i, vec4<u32>(dims.batch - 1u));
  let planes = (image * dims.channels + lane.workgroup.x) * dims.height * dims.width;
  if (!EDGES) {
    return Images(planes, vec4<f32>(), vec4<f32>());
  }
  let row = min(lane.index, 5u);
  let first = Place(0u, subgroupShuffle(at.y, 0u), subgroupShuffle(at.x, 0u));
  let last = Place(0u, subgroupShuffle(at.y, L - 1u), subgroupShuffle(at.x, L - 1u));
  let l = subgroupShuffle(planes, 0u) + line(first, row) + max(first.x, 1u) - 1u;
  let r = subgroupShuffle(planes, L - 1u) + line(last, row) + min(last.x + 4u, dims.width - 1u);
  return Images(
    planes,
    vec4<f32>(source_1[l.x], source_1[l.y], source_1[l.z], source_1[l.w]),
    vec4<f32>(source_1[r.x], source_1[r.y], source_1[r.z], source_1[r.w]),
  );
}

// Row r of d B.
fn row(lane: Lane, at: Place, images: Images, r: u32) -> Six {
  let y = at.y + r;   // from the border on
  let inside = y >= 1u && y <= dims.height;
  let first = images.planes + line(at, r);
  let p = transpose(mat4x4<f32>(
    select(vec4<f32>(), pixels(first.x, at.x), inside), select(vec4<f32>(), pixels(first.y, at.x), inside),
    select(vec4<f32>(), pixels(first.z, at.x), inside), select(vec4<f32>(), pixels(first.w, at.x), inside),
  ));
  var left = subgroupShuffle(p[3], (lane.index + L - 1u) % L);
  var right = subgroupShuffle(p[0], (lane.index + 1u) % L);
  if (EDGES) {
    left = select(left, select(vec4<f32>(), subgroupShuffle(images.left, r), inside), lane.index == 0u);
    right = select(right, select(vec4<f32>(), subgroupShuffle(images.right, r), inside), lane.index == L - 1u);
  }
  left = select(left, vec4<f32>(), at.x == 0u);
  right = select(right, vec4<f32>(), at.x + 4u >= dims.width);
  return evaluate(left, p[0], p[1], p[2], p[3], right);
}

// Stores column c of B^T d B. p and q: that column for the even and for the odd images.
fn store(to: u32, c: u32, p: Six, q: Six) {
  let step = dims.channels * L;
  let first = to + c * step;
  v[first] = interleave(p[0], q[0]);
  v[first + 6u * step] = interleave(p[1], q[1]);
  v[first + 12u * step] = interleave(p[2], q[2]);
  v[first + 18u * step] = interleave(p[3], q[3]);
  v[first + 24u * step] = interleave(p[4], q[4]);
  v[first + 30u * step] = interleave(p[5], q[5]);
}

@compute @workgroup_size(L)
fn transform(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let even = images(lane, at, vec4<u32>(0u, 2u, 4u, 6u));
  let odd = images(lane, at, vec4<u32>(1u, 3u, 5u, 7u));
  let a = row(lane, at, even, 0u);
  let b = row(lane, at, even, 1u);
  let c = row(lane, at, even, 2u);
  let d = row(lane, at, even, 3u);
  let e = row(lane, at, even, 4u);
  let f = row(lane, at, even, 5u);
  let g = row(lane, at, odd, 0u);
  let h = row(lane, at, odd, 1u);
  let i = row(lane, at, odd, 2u);
  let j = row(lane, at, odd, 3u);
  let k = row(lane, at, odd, 4u);
  let l = row(lane, at, odd, 5u);
  let to = (lane.workgroup.y * 36u * dims.channels + lane.workgroup.x) * L + lane.index;
  store(to, 0u, evaluate(a[0], b[0], c[0], d[0], e[0], f[0]), evaluate(g[0], h[0], i[0], j[0], k[0], l[0]));
  store(to, 1u, evaluate(a[1], b[1], c[1], d[1], e[1], f[1]), evaluate(g[1], h[1], i[1], j[1], k[1], l[1]));
  store(to, 2u, evaluate(a[2], b[2], c[2], d[2], e[2], f[2]), evaluate(g[2], h[2], i[2], j[2], k[2], l[2]));
  store(to, 3u, evaluate(a[3], b[3], c[3], d[3], e[3], f[3]), evaluate(g[3], h[3], i[3], j[3], k[3], l[3]));
  store(to, 4u, evaluate(a[4], b[4], c[4], d[4], e[4], f[4]), evaluate(g[4], h[4], i[4], j[4], k[4], l[4]));
  store(to, 5u, evaluate(a[5], b[5], c[5], d[5], e[5], f[5]), evaluate(g[5], h[5], i[5], j[5], k[5], l[5]));
}

@group(0) @binding(4) var<storage, read_write> v_halves: array<vec2<u64>>;

// Stores column c of B^T d B of half of the images.
fn store_half(to: u32, half: u32, c: u32, p: Six) {
  let step = 2u * dims.channels * L;
  let first = 2u * to + half + c * step;
  v_halves[first] = pack(p[0]);
  v_halves[first + 6u * step] = pack(p[1]);
  v_halves[first + 12u * step] = pack(p[2]);
  v_halves[first + 18u * step] = pack(p[3]);
  v_halves[first + 24u * step] = pack(p[4]);
  v_halves[first + 30u * step] = pack(p[5]);
}

// The same in two passes of half of the images: half of the code, so that kernels with many loads
// compile in time.
@compute @workgroup_size(L)
fn transform_halves(lane: Lane) {
  let at = place_of((dims.first + lane.workgroup.y) * L + lane.index);
  let to = (lane.workgroup.y * 36u * dims.channels + lane.workgroup.x) * L + lane.index;
  for (var half = 0u; half < 2u; half++) {
    let four = images(lane, at, 4u * half + vec4<u32>(0u, 1u, 2u, 3u));
    let a = row(lane, at, four, 0u);
    let b = row(lane, at, four, 1u);
    let c = row(lane, at, four, 2u);
    let d = row(lane, at, four, 3u);
    let e = row(lane, at, four, 4u);
    let f = row(lane, at, four, 5u);
    store_half(to, half, 0u, evaluate(a[0], b[0], c[0], d[0], e[0], f[0]));
    store_half(to, half, 1u, evaluate(a[1], b[1], c[1], d[1], e[1], f[1]));
    store_half(to, half, 2u, evaluate(a[2], b[2], c[2], d[2], e[2], f[2]));
    store_half(to, half, 3u, evaluate(a[3], b[3], c[3], d[3], e[3], f[3]));
    store_half(to, half, 4u, evaluate(a[4], b[4], c[4], d[4], e[4], f[4]));
    store_half(to, half, 5u, evaluate(a[5], b[5], c[5], d[5], e[5], f[5]));
  }
}
