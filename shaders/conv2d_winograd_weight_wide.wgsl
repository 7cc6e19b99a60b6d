// Gradient of the weights of a convolution with a kernel of 3 x 3 and stride 1 in the Winograd
// domain F(4x4, 3x3), after the transforms of x and dy.
//
//   product  acc[p,r,s] (+)= sum_k rows[p,r,k] stay[p,s,k]   for each of the 36 points p
//   weights  dw[o,c] (+)= G^T acc[:,o,c] G                   G [6, 3]
//
// rows, stay  [blocks of this call, 36, channels, L, 8]: transformed dy and x, or x and dy
// acc         [36, tiles, pairs of rows, 4 L, 2]; sums is the same tensor
// dw          [Co, Ci, 3, 3]
//
// product: a lane keeps 4 channels of stay for all 8 L columns of a block, and the rows stream by
// in pairs. So a lane does 64 L multiply-adds for four accesses to memory, and no sum is carried
// around a loop. (A software driver blends each such variable with the mask of its lanes.) A tile
// is 4 L channels of stay. A workgroup is one subgroup. It adds all blocks in order. Grid: (36,
// tiles). The numbers of stay must be finite, also in columns past the end.
// weights: an invocation owns two rows and one channel of stay.
// FLOPs 72 columns Ci Co. For each block, point and tile the bytes are 128 L^2 of stay, and for
// each pair of rows 64 L of rows and 64 L of acc.

// count_rows and count_stay are the channels of rows and stay. fresh: whether the first block
// replaces acc. row and channel are distances in dw: of two rows, and of two channels of stay.
struct Dims { blocks: u32, count_rows: u32, count_stay: u32, fresh: u32, row: u32, channel: u32 }

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> rows: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> stay: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> acc: array<vec4<u64>>;

const POINTS = 6u;
const SQUARE = POINTS * POINTS;
const COLUMNS = 8u;      // of a lane
const CHANNELS = 4u;     // of stay that a lane keeps
const TILE = CHANNELS * L;
const STEPS = vec4<u32>(0u, 1u, 2u, 3u);

alias Kept = array<vec4<f32>, COLUMNS * L>;
alias Pair = array<vec4<f32>, 2>;

// Keeps the columns of lane k, of the channels that start at these indices.
fn keep(kept: ptr<function, Kept>, at: vec4<u32>, k: u32) {
  let a = stay[at.x + k];
  let b = stay[at.y + k];
  let c = stay[at.z + k];
  let d = stay[at.w + k];
  let low = transpose(mat4x4(even(a), even(b), even(c), even(d)));
  let high = transpose(mat4x4(odd(a), odd(b), odd(c), odd(d)));
  for (var i = 0u; i < 4u; i++) {
    (*kept)[COLUMNS * k + 2u * i] = low[i];
    (*kept)[COLUMNS * k + 2u * i + 1u] = high[i];
  }
}

// Adds the products of column e of every lane, for two rows. The body is small, because the driver
// unrolls no larger loop.
fn along(sums: ptr<function, Pair>, kept: ptr<function, Kept>, e: u32, a: f32, b: f32) {
  for (var l = 0u; l < L; l++) {
    (*sums)[0] += subgroupShuffle(a, l) * (*kept)[COLUMNS * l + e];
    (*sums)[1] += subgroupShuffle(b, l) * (*kept)[COLUMNS * l + e];
  }
}

@compute @workgroup_size(L)
fn product(
  // Not a Lane: see conv2d_weight_subgroup.wgsl.
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let point = group.x;
  let pairs = (dims.count_rows + 1u) / 2u;
  let tiles = (dims.count_stay + TILE - 1u) / TILE;
  // Channels past the end repeat the last one. Nothing reads their sums.
  let channels = min(group.y * TILE + lane * CHANNELS + STEPS, vec4<u32>(dims.count_stay - 1u));
  for (var block = 0u; block < dims.blocks; block++) {
    let plane = block * SQUARE + point;
    let at = (plane * dims.count_stay + channels) * L;
    var kept: Kept;
    for (var k = 0u; k < L; k++) {
      keep(&kept, at, k);
    }
    let fresh = block == 0u && dims.fresh == 1u;
    let end = ((plane + 1u) * dims.count_rows - 1u) * L + lane;
    var i = plane * dims.count_rows * L + lane;
    var to = (point * tiles + group.y) * pairs * L + lane;
    for (var pair = 0u; pair < pairs; pair++) {
      let before = acc[to];
      var sums = Pair(select(even(before), vec4<f32>(), fresh), select(odd(before), vec4<f32>(), fresh));
      let a = rows[i];
      let b = rows[min(i + L, end)];
      let p = even(a);
      let q = odd(a);
      let r = even(b);
      let s = odd(b);
      along(&sums, &kept, 0u, p.x, r.x);
      along(&sums, &kept, 1u, q.x, s.x);
      along(&sums, &kept, 2u, p.y, r.y);
      along(&sums, &kept, 3u, q.y, s.y);
      along(&sums, &kept, 4u, p.z, r.z);
      along(&sums, &kept, 5u, q.z, s.z);
      along(&sums, &kept, 6u, p.w, r.w);
      along(&sums, &kept, 7u, q.w, s.w);
      acc[to] = interleave(sums[0], sums[1]);
      i += 2u * L;
      to += L;
    }
  }
}

@group(0) @binding(1) var<storage, read> sums: array<u64>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

alias Points = array<vec2<f32>, POINTS>;
alias Taps = array<vec2<f32>, 3>;

// G^T applied to the sums at six points.
fn gather(a: Points) -> Taps {
  let p = a[1] + a[2];
  let q = a[3] + a[4];
  return Taps(
    64.0 / 81.0 * a[0] - 128.0 / 243.0 * p + 32.0 / 243.0 * q,
    16.0 / 81.0 * (a[3] - a[4]) - 32.0 / 81.0 * (a[1] - a[2]),
    8.0 / 27.0 * (q - p) + a[5],
  );
}

fn put(at: u32, v: vec2<f32>, live: bool) {
  if (ADD) {
    dw[at] += v.x;
    if (live) {
      dw[at + dims.row] += v.y;
    }
  } else {
    dw[at] = v.x;
    if (live) {
      dw[at + dims.row] = v.y;
    }
  }
}

// Row i of the points, for both rows of the pair.
fn across(at: u32, distance: u32, i: u32) -> Taps {
  let k = at + i * POINTS * distance;
  return gather(Points(
    unpack_pair(sums[k]), unpack_pair(sums[k + distance]), unpack_pair(sums[k + 2u * distance]),
    unpack_pair(sums[k + 3u * distance]), unpack_pair(sums[k + 4u * distance]), unpack_pair(sums[k + 5u * distance]),
  ));
}

fn unpack_pair(v: u64) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(u32(v)), bitcast<f32>(u32(v >> 32u)));
}

@compute @workgroup_size(FLAT)
fn weights(lane: Lane) {
  let pairs = (dims.count_rows + 1u) / 2u;
  let tiles = (dims.count_stay + TILE - 1u) / TILE;
  let i = flat_index(lane);
  if (i < pairs * dims.count_stay) {
    let channel = i % dims.count_stay;
    let pair = i / dims.count_stay;
    let at = (channel / TILE * pairs + pair) * TILE + channel % TILE;
    let distance = tiles * pairs * TILE;
    let a = across(at, distance, 0u);
    let b = across(at, distance, 1u);
    let c = across(at, distance, 2u);
    let d = across(at, distance, 3u);
    let e = across(at, distance, 4u);
    let f = across(at, distance, 5u);
    let to = 2u * pair * dims.row + channel * dims.channel;
    let both = 2u * pair + 1u < dims.count_rows;
    for (var s = 0u; s < 3u; s++) {
      let taps = gather(Points(a[s], b[s], c[s], d[s], e[s], f[s]));
      put(to + s, taps[0], both);
      put(to + 3u + s, taps[1], both);
      put(to + 6u + s, taps[2], both);
    }
  }
}
