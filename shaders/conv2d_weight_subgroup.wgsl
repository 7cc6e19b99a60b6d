// Gradients of the weights and bias of a convolution with a kernel of 3 x 3 and stride 1 or 2: the
// subgroup variant.
//
//   partial  partial_w[split,o,c,r,s] = sum_{n,i,j} dy[n,o,i,j] x[n,c,u,v]
//            with u = STRIDE i + r - pad and v = STRIDE j + s - pad
//            partial_b[split,o]       = sum_{n,i,j} dy[n,o,i,j]
//
// x          [batch, Ci, H, W]
// dy         [batch, Co, H', W']
// partial_w  [splits, Co, Ci, 3, 3]; row_sums.wgsl adds the splits
// partial_b  [splits, Co]
//
// One workgroup is one subgroup. Grid: (tiles of c, tiles of o, splits). A split sums the images
// split, split + splits, and so on, so all sums have a fixed order. A lane owns one input channel,
// and 9 sums for each of ROWS L output channels. It walks down 4 columns of the output with a
// sliding window of three rows of x. It loads dy of ROWS output channels and broadcasts them.
// FLOPs 18 batch H' W' Ci Co. For each 4 outputs, a lane loads 6 (stride 2: 18) elements of x and 4
// ROWS of dy for 36 ROWS L multiply-adds; bytes are mostly from caches.

// height and width of dy.
struct Dims {
  batch: u32, channels_in: u32, channels_out: u32, height_in: u32, width_in: u32,
  height: u32, width: u32, pad: u32, splits: u32
}

override STRIDE: u32;
override ROWS: u32;     // output channels per lane: 1, 2 or MAX_ROWS
const MAX_ROWS = 4u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

alias Window = array<f32, 9>;       // stride 1 uses the first six
alias Sums = array<f32, 9u * MAX_ROWS * L>;   // only the first 9 ROWS L are used

// A row of the window. Outside of the image the index is clamped and the value is 0.
fn load(row: i32, origin: u32, column: array<u32, 9>, inside: array<bool, 9>) -> Window {
  let base = origin + u32(clamp(row, 0, i32(dims.height_in) - 1)) * dims.width_in;
  let in_row = row >= 0 && row < i32(dims.height_in);
  var v: Window;
  for (var i = 0u; i < 3u * STRIDE + 3u; i++) {
    v[i] = select(0.0, x[base + column[i]], in_row && inside[i]);
  }
  return v;
}

// The pixels under the s-th tap of four neighboring outputs.
fn reach(v: Window, s: u32) -> vec4<f32> {
  return vec4<f32>(v[s], v[STRIDE + s], v[2u * STRIDE + s], v[3u * STRIDE + s]);
}

// sum + the dot product of d and p.
fn along(sum: f32, d: vec4<f32>, p: vec4<f32>) -> f32 {
  return fma(d.w, p.w, fma(d.z, p.z, fma(d.y, p.y, fma(d.x, p.x, sum))));
}

// Adds three taps of a kernel row for one output channel of every lane. The body is small, because
// the driver unrolls no larger loop.
fn accumulate(sums: ptr<function, Sums>, first: u32, mine: vec4<f32>, p0: vec4<f32>, p1: vec4<f32>, p2: vec4<f32>) {
  for (var l = 0u; l < L; l++) {
    let d = subgroupShuffle(mine, l);
    let i = 9u * ROWS * l + first;
    (*sums)[i] = along((*sums)[i], d, p0);
    (*sums)[i + 1u] = along((*sums)[i + 1u], d, p1);
    (*sums)[i + 2u] = along((*sums)[i + 2u], d, p2);
  }
}

// Four neighboring outputs, from x on.
struct Outputs { image: u32, channel: u32, y: u32, x: u32 }

// Adds the products of the window p, q, r and the t-th output channel of every lane.
fn meet(
  sums: ptr<function, Sums>, bias: ptr<function, vec4<f32>>, t: u32, at: Outputs, p: Window, q: Window, r: Window,
) {
  let channel = min(at.channel + t, dims.channels_out - 1u);
  let base = ((at.image * dims.channels_out + channel) * dims.height + at.y) * dims.width;
  let end = dims.width - 1u;
  let d = vec4<f32>(
    dy[base + at.x],
    select(0.0, dy[base + min(at.x + 1u, end)], at.x < end),
    select(0.0, dy[base + min(at.x + 2u, end)], at.x + 1u < end),
    select(0.0, dy[base + min(at.x + 3u, end)], at.x + 2u < end),
  );
  (*bias)[t] += d.x + d.y + d.z + d.w;
  accumulate(sums, 9u * t, d, reach(p, 0u), reach(p, 1u), reach(p, 2u));
  accumulate(sums, 9u * t + 3u, d, reach(q, 0u), reach(q, 1u), reach(q, 2u));
  accumulate(sums, 9u * t + 6u, d, reach(r, 0u), reach(r, 1u), reach(r, 2u));
}

// Stores tap k of all output channels of the tile.
fn save(sums: ptr<function, Sums>, k: u32, at: u32, first: u32, live: bool) {
  for (var m = 0u; m < ROWS * L; m++) {
    if (live && first + m < dims.channels_out) {
      partial_w[at + k + 9u * m * dims.channels_in] = (*sums)[9u * m + k];
    }
  }
}

@compute @workgroup_size(L)
fn partial(
  // Not a Lane: if one member of a struct differs between lanes, Tint assumes that all members do,
  // and rejects subgroup functions in a loop that depends on one of them.
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let lane = Lane(group, groups, index);
  let channel = lane.workgroup.x * L + lane.index;
  let first = lane.workgroup.y * ROWS * L;
  let split = group.z;
  let plane_in = dims.height_in * dims.width_in;
  var sums: Sums;
  var bias: vec4<f32>;   // of this lane's output channels
  for (var n = split; n < dims.batch; n += dims.splits) {
    let origin = (n * dims.channels_in + min(channel, dims.channels_in - 1u)) * plane_in;
    for (var j = 0u; j < dims.width; j += 4u) {
      var column: array<u32, 9>;
      var inside: array<bool, 9>;
      for (var i = 0u; i < 3u * STRIDE + 3u; i++) {
        let at = i32(STRIDE * j + i) - i32(dims.pad);
        inside[i] = at >= 0 && at < i32(dims.width_in);
        column[i] = u32(clamp(at, 0, i32(dims.width_in) - 1));
      }
      var p: Window;
      var q: Window;
      var r: Window;
      let top = -i32(dims.pad);
      if (STRIDE == 1u) {
        q = load(top, origin, column, inside);
        r = load(top + 1, origin, column, inside);
      } else {
        r = load(top, origin, column, inside);
      }
      for (var i = 0u; i < dims.height; i++) {
        let row = top + i32(STRIDE * i);
        if (STRIDE == 1u) {
          p = q;
          q = r;
        } else {
          p = r;
          q = load(row + 1, origin, column, inside);
        }
        r = load(row + 2, origin, column, inside);
        let d = Outputs(n, first + ROWS * lane.index, i, j);
        // Not a loop over the channels, because the driver would not unroll it.
        meet(&sums, &bias, 0u, d, p, q, r);
        if (ROWS > 1u) {
          meet(&sums, &bias, 1u, d, p, q, r);
        }
        if (ROWS > 2u) {
          meet(&sums, &bias, 2u, d, p, q, r);
          meet(&sums, &bias, 3u, d, p, q, r);
        }
      }
    }
  }
  for (var t = 0u; t < ROWS; t++) {
    let o = first + ROWS * lane.index + t;
    if (lane.workgroup.x == 0u && o < dims.channels_out) {
      partial_b[split * dims.channels_out + o] = bias[t];
    }
  }
  let live = channel < dims.channels_in;
  let at = 9u * ((split * dims.channels_out + first) * dims.channels_in + channel);
  save(&sums, 0u, at, first, live);
  save(&sums, 1u, at, first, live);
  save(&sums, 2u, at, first, live);
  save(&sums, 3u, at, first, live);
  save(&sums, 4u, at, first, live);
  save(&sums, 5u, at, first, live);
  save(&sums, 6u, at, first, live);
  save(&sums, 7u, at, first, live);
  save(&sums, 8u, at, first, live);
}
