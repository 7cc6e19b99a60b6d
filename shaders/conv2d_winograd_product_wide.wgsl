// Second step of the convolution by Winograd's algorithm (see conv2d_winograd_input_wide.wgsl): one
// matrix product for each of the 36 elements of a transformed patch.
//
//   product  m[b,p,o,t] = sum_c u[p,o,c] v[b,p,c,t]
//
// v  [blocks, 36, channels, L, 8]
// u  [36, chunks, rows, CHUNK] with chunks = ceil(channels / CHUNK); zeros where the channel does
//    not exist
// m  [blocks, 36, rows, L, 8]; rows past the channels of the result are zero
//
// One workgroup is one subgroup and computes one p of one block: grid (36, blocks). A lane owns 8
// columns. It loads them for CHUNK channels, and these values stay while the rows of u pass by.
// They do not change in the loop over the rows, so the driver needs no copies of them and uses them
// as operands in memory. Lanes CHUNK / 8 q + l hold channels 8 l to 8 l + 7 of row r + q, and
// broadcast them: the weights of a row fill up to 8 lanes, so L must be at least 8. With more than
// CHUNK channels the sums of a row are kept in m.
// FLOPs 36 * 2 * 8 L channels rows per block. Per row a lane loads CHUNK / 8 numbers of u and
// stores 8 of m for 8 CHUNK multiply-adds.

// rows must be a multiple of 64 / CHUNK.
struct Dims { channels: u32, rows: u32 }

override CHUNK: u32;   // 16, 32, 48 or 64

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> v: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> u: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> m: array<vec4<u64>>;

// 8 columns as an even and an odd half for each channel; only the first 2 CHUNK are used.
alias Columns = array<vec4<f32>, 128>;

// Loads 16 channels. Where a channel does not exist the last one is repeated, and u is zero.
fn load(columns: ptr<function, Columns>, at: u32, channel: u32, first: u32) {
  for (var k = first; k < first + 16u; k++) {
    let q = v[at + min(channel + k, dims.channels - 1u) * L];
    (*columns)[2u * k] = even(q);
    (*columns)[2u * k + 1u] = odd(q);
  }
}

struct Sums { even: vec4<f32>, odd: vec4<f32> }

// Adds channels 8 l + j, whose weights lanes first + l hold.
fn add(sums: ptr<function, Sums>, columns: ptr<function, Columns>, first: u32, j: u32, weight: f32) {
  for (var l = 0u; l < CHUNK / 8u; l++) {
    let w = subgroupShuffle(weight, first + l);
    (*sums).even += w * (*columns)[2u * (8u * l + j)];
    (*sums).odd += w * (*columns)[2u * (8u * l + j) + 1u];
  }
}

// Weights of 8 channels.
struct Weights { even: vec4<f32>, odd: vec4<f32> }

// Computes the q-th of the rows of which the lanes hold weights.
fn row(columns: ptr<function, Columns>, weights: Weights, to: u32, more: bool, q: u32) {
  let first = CHUNK / 8u * q;
  var sums: Sums;
  if (more) {
    let before = m[to + q * L];
    sums = Sums(even(before), odd(before));
  }
  add(&sums, columns, first, 0u, weights.even.x);
  add(&sums, columns, first, 1u, weights.odd.x);
  add(&sums, columns, first, 2u, weights.even.y);
  add(&sums, columns, first, 3u, weights.odd.y);
  add(&sums, columns, first, 4u, weights.even.z);
  add(&sums, columns, first, 5u, weights.odd.z);
  add(&sums, columns, first, 6u, weights.even.w);
  add(&sums, columns, first, 7u, weights.odd.w);
  m[to + q * L] = interleave(sums.even, sums.odd);
}

@compute @workgroup_size(L)
fn product(lane: Lane) {
  let number = lane.workgroup.y * 36u + lane.workgroup.x;
  let chunks = (dims.channels + CHUNK - 1u) / CHUNK;
  let rows = 64u / CHUNK;             // at once
  let elements = rows * CHUNK / 8u;   // of u in these rows
  for (var chunk = 0u; chunk < chunks; chunk++) {
    var columns: Columns;
    let at = number * dims.channels * L + lane.index;
    load(&columns, at, chunk * CHUNK, 0u);
    if (CHUNK > 16u) {
      load(&columns, at, chunk * CHUNK, 16u);
    }
    if (CHUNK > 32u) {
      load(&columns, at, chunk * CHUNK, 32u);
    }
    if (CHUNK > 48u) {
      load(&columns, at, chunk * CHUNK, 48u);
    }
    var i = (lane.workgroup.x * chunks + chunk) * dims.rows * (CHUNK / 8u) + min(lane.index, elements - 1u);
    var to = number * dims.rows * L + lane.index;
    for (var r = 0u; r < dims.rows; r += rows) {
      let weights = Weights(even(u[i]), odd(u[i]));
      row(&columns, weights, to, chunk > 0u, 0u);
      if (CHUNK <= 32u) {
        row(&columns, weights, to, chunk > 0u, 1u);
      }
      if (CHUNK <= 16u) {
        row(&columns, weights, to, chunk > 0u, 2u);
        row(&columns, weights, to, chunk > 0u, 3u);
      }
      i += elements;
      to += rows * L;
    }
  }
}
