// Convolution with a kernel of 3 x 3 and stride 1: the subgroup variant, without workgroup memory
// and without barriers. Weights are broadcast between lanes.
//
//   convolve  result[n,m,i,j] (+)= bias[m] + sum_{k,r,s} weight(m,k,r,s)
//             source[n,k,i+r-pad,j+s-pad] forward: source x, result y
//             gradient of x: source dy, result dx, pad' = 2 - pad
//
// source   [batch, channels_source, height_source, width_source]; zeros outside
// weights  packed by conv2d_pack.wgsl for either, with 4 GROUPS channels per tile
// result   [batch, channels_result, height, width]
//
// One workgroup is one subgroup of L lanes and computes a tile of 4 GROUPS channels (workgroup z)
// of L patches. A lane owns a patch of PATCH_ROWS by PATCH_COLUMNS pixels. Patches are numbered
// through images, rows and columns (workgroup x and y), so small images fill the lanes too. For
// each channel and row of the kernel a lane loads 6 pixels, which 3 taps of 2 output rows use, and
// 3 vec4s of weights, which `taps` broadcasts.
// FLOPs 18 batch height width channels_source channels_result. For each channel of the source, a
// patch loads 24 pixels and 9 vec4s of weights for 288 GROUPS multiply-adds. In this driver a load
// is a scalar loop over the lanes, so loads and arithmetic take about the same time; bytes are
// mostly from caches.

// height and width of the result.
struct Dims {
  batch: u32, channels_source: u32, channels_result: u32, height_source: u32, width_source: u32,
  height: u32, width: u32, pad: u32,
}

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

const PATCH_ROWS = 2u;      // one tile for each
const PATCH_COLUMNS = 4u;   // the width of a vec4

// Image, first row and first column of a patch. `live`: it exists.
struct Patch { image: u32, y: u32, x: u32, live: bool }

fn patch_of(lane: Lane) -> Patch {
  let columns = (dims.width + PATCH_COLUMNS - 1u) / PATCH_COLUMNS;
  let lines = (dims.height + PATCH_ROWS - 1u) / PATCH_ROWS;
  let total = dims.batch * lines * columns;
  let number = workgroup_index(lane) * L + lane.index;
  let at = min(number, total - 1u);   // lanes past the end repeat the last patch and store nothing
  let line = at / columns;
  return Patch(line / lines, PATCH_ROWS * (line % lines), PATCH_COLUMNS * (at % columns), number < total);
}

alias Window = array<f32, 6>;

// Six pixels of a row. Outside of the image the index is clamped and the value is 0.
fn load(row: i32, origin: u32, column: array<u32, 6>, inside: array<bool, 6>) -> Window {
  let base = origin + u32(clamp(row, 0, i32(dims.height_source) - 1)) * dims.width_source;
  let in_row = row >= 0 && row < i32(dims.height_source);
  var v: Window;
  for (var i = 0u; i < 6u; i++) {
    v[i] = select(0.0, source[base + column[i]], in_row && inside[i]);
  }
  return v;
}

// Adds the three taps of a kernel row to rows 4 l + k of a tile. The tile is larger than the
// registers, so every pass over it loads and stores it: one pass is a tenth faster than three calls
// of `outer` on Mesa 22.3.6.
fn taps(tile: ptr<function, Tile>, k: u32, a: vec3<f32>, p: Window) {
  let p0 = vec4<f32>(p[0], p[1], p[2], p[3]);
  let p1 = vec4<f32>(p[1], p[2], p[3], p[4]);
  let p2 = vec4<f32>(p[2], p[3], p[4], p[5]);
  for (var l = 0u; l < GROUPS; l++) {
    let row = (*tile)[4u * l + k];
    (*tile)[4u * l + k] = row
      + subgroupShuffle(a.x, l) * p0 + subgroupShuffle(a.y, l) * p1 + subgroupShuffle(a.z, l) * p2;
  }
}

// Computes the sums of a patch: `upper` is its first row, `lower` its second.
fn gather(lane: Lane, at: Patch, upper: ptr<function, Tile>, lower: ptr<function, Tile>) {
  var column: array<u32, 6>;
  var inside: array<bool, 6>;
  for (var i = 0u; i < 6u; i++) {
    let x = i32(at.x + i) - i32(dims.pad);
    inside[i] = x >= 0 && x < i32(dims.width_source);
    column[i] = u32(clamp(x, 0, i32(dims.width_source) - 1));
  }
  let plane = dims.height_source * dims.width_source;
  let top = i32(at.y) - i32(dims.pad);
  var origin = at.image * dims.channels_source * plane;
  var w = lane.workgroup.z * (1u + 9u * dims.channels_source) * GROUPS + min(lane.index, GROUPS - 1u);
  let bias = weights[w];
  outer(upper, bias, vec4<f32>(1.0));
  outer(lower, bias, vec4<f32>(1.0));
  w += GROUPS;
  for (var c = 0u; c < dims.channels_source; c++) {
    var p = load(top, origin, column, inside);
    // Row r of the kernel meets row r of the source for `upper`, r + 1 for `lower`.
    for (var r = 0; r < 3; r++) {
      let q = load(top + r + 1, origin, column, inside);
      let w0 = weights[w];
      let w1 = weights[w + GROUPS];
      let w2 = weights[w + 2u * GROUPS];
      taps(upper, 0u, vec3<f32>(w0.x, w1.x, w2.x), p);
      taps(lower, 0u, vec3<f32>(w0.x, w1.x, w2.x), q);
      taps(upper, 1u, vec3<f32>(w0.y, w1.y, w2.y), p);
      taps(lower, 1u, vec3<f32>(w0.y, w1.y, w2.y), q);
      taps(upper, 2u, vec3<f32>(w0.z, w1.z, w2.z), p);
      taps(lower, 2u, vec3<f32>(w0.z, w1.z, w2.z), q);
      taps(upper, 3u, vec3<f32>(w0.w, w1.w, w2.w), p);
      taps(lower, 3u, vec3<f32>(w0.w, w1.w, w2.w), q);
      w += 3u * GROUPS;
      p = q;
    }
    origin += plane;
  }
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

// Stores rows 4 l + k of a tile: one row of the patch in GROUPS channels.
fn store_rows(lane: Lane, at: Patch, row: u32, tile: ptr<function, Tile>, k: u32) {
  let plane = dims.height * dims.width;
  let y = at.y + row;
  let first = lane.workgroup.z * 4u * GROUPS + k;
  let spot = (at.image * dims.channels_result + first) * plane + y * dims.width + at.x;
  let room = select(0u, dims.width - at.x, at.live && y < dims.height);
  for (var l = 0u; l < GROUPS; l++) {
    let v = (*tile)[4u * l + k];
    let i = spot + 4u * l * plane;
    let live = first + 4u * l < dims.channels_result;
    put(i, v.x, live && room > 0u);
    put(i + 1u, v.y, live && room > 1u);
    put(i + 2u, v.z, live && room > 2u);
    put(i + 3u, v.w, live && room > 3u);
  }
}

fn store(lane: Lane, at: Patch, row: u32, tile: ptr<function, Tile>) {
  store_rows(lane, at, row, tile, 0u);
  store_rows(lane, at, row, tile, 1u);
  store_rows(lane, at, row, tile, 2u);
  store_rows(lane, at, row, tile, 3u);
}

@compute @workgroup_size(L)
fn convolve(lane: Lane) {
  let at = patch_of(lane);
  var upper: Tile;
  var lower: Tile;
  gather(lane, at, &upper, &lower);
  store(lane, at, 0u, &upper);
  store(lane, at, 1u, &lower);
}
