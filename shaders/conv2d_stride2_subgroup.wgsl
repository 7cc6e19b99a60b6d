// Convolution with a kernel of 3 x 3 and stride 2: the subgroup variant. The scheme is the
// same as in conv2d_subgroup.wgsl, with patches of one row.
//
//   forward         y[n,o,i,j] = b[o] + sum_{c,r,s} x[n,c,2i+r-pad,2j+s-pad] w[o,c,r,s]
//   backward_input  dx[n,c,i,j] (+)= sum_{o,r,s} dy[n,o,(i+pad-2+r)/2,(j+pad-2+s)/2] w'[c,o,r,s]
//                   over the r, s for which both quotients are integers; w' are the weights rotated
//                   by 180 degrees, pad is the forward one
//
// source   x [batch, Ci, H, W] forward, dy [batch, Co, H', W'] backward; zeros outside; pad is 0 or
//          1
// weights  packed by conv2d_pack.wgsl for either, with 4 GROUPS channels per tile
// result   y [batch, Co, H', W'] forward, dx [batch, Ci, H, W] backward
//
// One workgroup is one subgroup and computes a tile of 4 GROUPS channels (workgroup z) of L
// patches.
// forward: a lane owns 4 columns of y. backward_input: a lane owns 8 columns of dx. Taps 0 and 2
// meet every second of them, tap 1 the others. Rows are sorted by parity (workgroup z = 2 tile +
// parity), so a workgroup visits only the rows of the kernel that contribute.
// FLOPs 18 batch H' W' Ci Co each. For each channel and row of the kernel, a lane loads 9 pixels
// forward or 5 backward, and 3 vec4s of weights; bytes are mostly from caches.

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

const STRIDE = 2u;
const PATCH_COLUMNS = 4u;   // of a patch in one tile: the width of a vec4

// Tile, image, and first row and column of a patch. `live`: it exists.
struct Patch { tile: u32, image: u32, y: u32, x: u32, live: bool }

// A patch spans PATCH_COLUMNS every columns. `every` is 1 for all rows, 2 for rows of parity z % 2.
fn patch_of(lane: Lane, every: u32) -> Patch {
  let columns = (dims.width + PATCH_COLUMNS * every - 1u) / (PATCH_COLUMNS * every);
  let lines = (dims.height + every - 1u) / every;
  let total = dims.batch * lines * columns;
  let number = workgroup_index(lane) * L + lane.index;
  let at = min(number, total - 1u);   // lanes past the end repeat the last patch and store nothing
  let line = at / columns;
  let y = every * (line % lines) + lane.workgroup.z % every;
  return Patch(
    lane.workgroup.z / every, line / lines, y, PATCH_COLUMNS * every * (at % columns),
    (number < total) && (y < dims.height),
  );
}

// Pixel (row, column) of the plane at `origin`; 0 outside.
fn pixel(origin: u32, row: i32, column: i32) -> f32 {
  let y = clamp(row, 0, i32(dims.height_source) - 1);
  let x = clamp(column, 0, i32(dims.width_source) - 1);
  return select(0.0, source[origin + u32(y) * dims.width_source + u32(x)], y == row && x == column);
}

// Index of this lane's first entry of the tile, the bias.
fn weights_of(at: Patch, lane: Lane) -> u32 {
  return at.tile * (1u + 9u * dims.channels_source) * GROUPS + min(lane.index, GROUPS - 1u);
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

// Stores rows 4 l + k of a tile in the columns x, x + every, ... that exist.
fn store_rows(at: Patch, x: u32, every: u32, tile: ptr<function, Tile>, k: u32) {
  let plane = dims.height * dims.width;
  let first = at.tile * 4u * GROUPS + k;
  let spot = (at.image * dims.channels_result + first) * plane + at.y * dims.width + x;
  let room = select(0u, (max(dims.width, x) - x + every - 1u) / every, at.live);
  for (var l = 0u; l < GROUPS; l++) {
    let v = (*tile)[4u * l + k];
    let i = spot + 4u * l * plane;
    let live = first + 4u * l < dims.channels_result;
    put(i, v.x, live && room > 0u);
    put(i + every, v.y, live && room > 1u);
    put(i + 2u * every, v.z, live && room > 2u);
    put(i + 3u * every, v.w, live && room > 3u);
  }
}

fn store(at: Patch, x: u32, every: u32, tile: ptr<function, Tile>) {
  store_rows(at, x, every, tile, 0u);
  store_rows(at, x, every, tile, 1u);
  store_rows(at, x, every, tile, 2u);
  store_rows(at, x, every, tile, 3u);
}

@compute @workgroup_size(L)
fn forward(lane: Lane) {
  let at = patch_of(lane, 1u);
  var tile: Tile;
  let left = 2 * i32(at.x) - i32(dims.pad);
  let top = 2 * i32(at.y) - i32(dims.pad);
  let plane = dims.height_source * dims.width_source;
  var origin = at.image * dims.channels_source * plane;
  var w = weights_of(at, lane);
  outer(&tile, weights[w], vec4<f32>(1.0));
  w += GROUPS;
  for (var c = 0u; c < dims.channels_source; c++) {
    for (var r = 0; r < 3; r++) {
      var v: array<f32, 9>;
      for (var i = 0; i < 9; i++) {
        v[i] = pixel(origin, top + r, left + i);
      }
      outer(&tile, weights[w], vec4<f32>(v[0], v[2], v[4], v[6]));
      outer(&tile, weights[w + GROUPS], vec4<f32>(v[1], v[3], v[5], v[7]));
      outer(&tile, weights[w + 2u * GROUPS], vec4<f32>(v[2], v[4], v[6], v[8]));
      w += 3u * GROUPS;
    }
    origin += plane;
  }
  store(at, at.x, 1u, &tile);
}

@compute @workgroup_size(L)
fn backward_input(
  // Not a Lane: if one member of a struct differs between lanes, Tint assumes that all members do,
  // and rejects subgroup functions in a loop that depends on one of them.
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let lane = Lane(group, groups, index);
  let at = patch_of(lane, STRIDE);
  // Columns of dx that taps 0 and 2 meet: the odd ones if pad is 1, the even ones if it is 0.
  var outer_taps: Tile;
  // The other columns.
  var middle_tap: Tile;
  let left = i32(at.x / 2u) - 1 + i32(dims.pad);
  let shifted = dims.pad == 0u;
  let parity = (group.z + dims.pad) % 2u;
  let plane = dims.height_source * dims.width_source;
  var origin = at.image * dims.channels_source * plane;
  var w = weights_of(at, lane) + GROUPS;
  for (var c = 0u; c < dims.channels_source; c++) {
    for (var r = parity; r < 3u; r += 2u) {
      let row = (i32(at.y + dims.pad + r) - 2) / 2;   // the numerator is even and at least -2
      var v: array<f32, 5>;
      for (var i = 0; i < 5; i++) {
        v[i] = pixel(origin, row, left + i);
      }
      let near = vec4<f32>(v[0], v[1], v[2], v[3]);
      let far = vec4<f32>(v[1], v[2], v[3], v[4]);
      let a = w + 3u * GROUPS * r;
      outer(&outer_taps, weights[a], near);
      outer(&middle_tap, weights[a + GROUPS], select(near, far, shifted));
      outer(&outer_taps, weights[a + 2u * GROUPS], far);
    }
    w += 9u * GROUPS;
    origin += plane;
  }
  store(at, at.x + dims.pad, 2u, &outer_taps);
  store(at, at.x + 1u - dims.pad, 2u, &middle_tap);
}
