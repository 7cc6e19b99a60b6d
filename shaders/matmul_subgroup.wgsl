// Matrix products if m, n and k are multiples of 4 (otherwise matmul.wgsl is used): the subgroup
// variant, with vec4 loads and broadcasts between lanes.
//
//   product          c[m,n] (+)= sum_k a(m,k) b(k,n)
//   product_shifted  the same + shift[n]
//
// a      [M, K] if A_ALONG_K (neighbors in memory are neighbors in k), else [K, M]
// b      [N, K] if B_ALONG_K, else [K, N]
// shift  [N]
// c      [M, N]
// One workgroup is one subgroup and computes 4 GROUPS rows by 4 L columns, four k at a time. A lane
// does 8 vec4 loads for 64 GROUPS multiply-adds; a vec4 load costs this driver about as much as two
// scalar loads. Rows and columns past the end repeat the last four and are not stored. Grid: (tiles
// of n, tiles of m). FLOPs 2 M N K; bytes 4 M K N (1 / (4 L) + 1 / (4 GROUPS)) + 4 M N, mostly from
// caches.

struct Dims { m: u32, n: u32, k: u32 }

override ADD: bool;
override A_ALONG_K: bool;
override B_ALONG_K: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> shift: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;

alias Block = mat4x4<f32>;   // four k, one per column

// A block from four vec4s. If they run along k, it is transposed, so that each k is a column.
fn block(v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>, along_k: bool) -> Block {
  let v = Block(v0, v1, v2, v3);
  if (along_k) {
    return transpose(v);
  }
  return v;
}

fn multiply(lane: Lane, tile: ptr<function, Tile>) {
  // In units of 4.
  let m = min(lane.workgroup.y * GROUPS + min(lane.index, GROUPS - 1u), dims.m / 4u - 1u);
  let n = min(lane.workgroup.x * L + lane.index, dims.n / 4u - 1u);
  let k4 = dims.k / 4u;
  var i = select(m, 4u * m * k4, A_ALONG_K);
  var j = select(n, 4u * n * k4, B_ALONG_K);
  let i_row = select(dims.m / 4u, k4, A_ALONG_K);
  let j_row = select(dims.n / 4u, k4, B_ALONG_K);
  let i_next = select(dims.m, 1u, A_ALONG_K);
  let j_next = select(dims.n, 1u, B_ALONG_K);
  for (var k = 0u; k < k4; k++) {
    let p = block(a[i], a[i + i_row], a[i + 2u * i_row], a[i + 3u * i_row], A_ALONG_K);
    let q = block(b[j], b[j + j_row], b[j + 2u * j_row], b[j + 3u * j_row], B_ALONG_K);
    outer(tile, p[0], q[0]);
    outer(tile, p[1], q[1]);
    outer(tile, p[2], q[2]);
    outer(tile, p[3], q[3]);
    i += i_next;
    j += j_next;
  }
}

// Stores rows 4 l + k of the tile.
fn store_rows(lane: Lane, tile: ptr<function, Tile>, shift: vec4<f32>, k: u32) {
  let n = lane.workgroup.x * L + lane.index;
  let first = lane.workgroup.y * 4u * GROUPS + k;
  for (var l = 0u; l < GROUPS; l++) {
    let row = first + 4u * l;
    if (n < dims.n / 4u && row < dims.m) {
      let at = row * (dims.n / 4u) + n;
      let v = (*tile)[4u * l + k] + shift;
      if (ADD) {
        c[at] += v;
      } else {
        c[at] = v;
      }
    }
  }
}

fn store(lane: Lane, tile: ptr<function, Tile>, shift: vec4<f32>) {
  store_rows(lane, tile, shift, 0u);
  store_rows(lane, tile, shift, 1u);
  store_rows(lane, tile, shift, 2u);
  store_rows(lane, tile, shift, 3u);
}

@compute @workgroup_size(L)
fn product(lane: Lane) {
  var tile: Tile;
  multiply(lane, &tile);
  store(lane, &tile, vec4<f32>(0.0));
}

@compute @workgroup_size(L)
fn product_shifted(lane: Lane) {
  var tile: Tile;
  multiply(lane, &tile);
  store(lane, &tile, shift[min(lane.workgroup.x * L + lane.index, dims.n / 4u - 1u)]);
}
