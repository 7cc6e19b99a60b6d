// Matrix products, either factor possibly transposed: the tiled variant.
//
//   product          c[m,n] (+)= sum_k a(m,k) b(k,n)
//   product_shifted  the same + shift[n]
//
// a, b   [M, K] and [K, N]; element (i, j) is at index i row + j column with the factor's strides
//        row and column, one of which is 1
// shift  [N]
// c      [M, N], row-major
// A workgroup of 256 computes TILE by TILE elements; an invocation computes 4 by 4 of them. TILE_K
// of k at a time are loaded into workgroup memory, each factor along its contiguous dimension.
// Grid: (tiles of n, tiles of m). FLOPs 2 M N K; bytes 4 (M K N / 32 + M N).

struct Dims { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, b_row: u32, b_column: u32 }

override ADD: bool;
const TILE = 64u;
const TILE_K = 16u;
// In vec4s. One more than needed, so that lanes that store a column use different memory banks.
const ROW = TILE / 4u + 1u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> shift: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

var<workgroup> left: array<vec4<f32>, ROW * TILE_K>;     // [k][m]
var<workgroup> right: array<vec4<f32>, ROW * TILE_K>;    // [k][n]

struct Block { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

fn multiply(group: vec3<u32>, index: u32) -> Block {
  let four = vec4<u32>(0u, 1u, 2u, 3u);
  // The (k, part of a row) that this invocation loads of each factor. k runs fastest if the factor
  // is contiguous along k.
  let fast = vec2<u32>(index % TILE_K, index / TILE_K);
  let slow = vec2<u32>(index / (TILE / 4u), index % (TILE / 4u));
  let from_a = select(slow, fast, dims.a_column == 1u);
  let from_b = select(slow, fast, dims.b_row == 1u);
  let m = min(group.y * TILE + 4u * from_a.y + four, vec4<u32>(dims.m - 1u)) * dims.a_row;
  let n = min(group.x * TILE + 4u * from_b.y + four, vec4<u32>(dims.n - 1u)) * dims.b_column;
  let row = index / (TILE / 4u);
  let column = index % (TILE / 4u);
  var tile: Block;
  for (var first = 0u; first < dims.k; first += TILE_K) {
    let i = m + min(first + from_a.x, dims.k - 1u) * dims.a_column;
    let j = n + min(first + from_b.x, dims.k - 1u) * dims.b_row;
    workgroupBarrier();
    // Past the last k the left factor is zero and the right one repeats its last row.
    left[from_a.x * ROW + from_a.y] = select(
      vec4<f32>(0.0), vec4<f32>(a[i.x], a[i.y], a[i.z], a[i.w]), first + from_a.x < dims.k,
    );
    right[from_b.x * ROW + from_b.y] = vec4<f32>(b[j.x], b[j.y], b[j.z], b[j.w]);
    workgroupBarrier();
    for (var k = 0u; k < TILE_K; k++) {
      let l = left[k * ROW + row];
      let r = right[k * ROW + column];
      tile.r0 += l.x * r;
      tile.r1 += l.y * r;
      tile.r2 += l.z * r;
      tile.r3 += l.w * r;
    }
  }
  return tile;
}

fn put(m: u32, n: u32, v: f32) {
  if (m < dims.m && n < dims.n) {
    let i = m * dims.n + n;
    if (ADD) {
      c[i] += v;
    } else {
      c[i] = v;
    }
  }
}

fn put_row(m: u32, n: u32, v: vec4<f32>) {
  put(m, n, v.x);
  put(m, n + 1u, v.y);
  put(m, n + 2u, v.z);
  put(m, n + 3u, v.w);
}

fn store(group: vec3<u32>, index: u32, tile: Block, shift: vec4<f32>) {
  let m = group.y * TILE + 4u * (index / (TILE / 4u));
  let n = group.x * TILE + 4u * (index % (TILE / 4u));
  put_row(m, n, tile.r0 + shift);
  put_row(m + 1u, n, tile.r1 + shift);
  put_row(m + 2u, n, tile.r2 + shift);
  put_row(m + 3u, n, tile.r3 + shift);
}

@compute @workgroup_size(256)
fn product(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  store(group, index, multiply(group, index), vec4<f32>(0.0));
}

@compute @workgroup_size(256)
fn product_shifted(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let tile = multiply(group, index);
  let n = min(group.x * TILE + 4u * (index % (TILE / 4u)) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims.n - 1u));
  store(group, index, tile, vec4<f32>(shift[n.x], shift[n.y], shift[n.z], shift[n.w]));
}
