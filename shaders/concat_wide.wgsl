// y[b] = (a[b], b[b]): concat.wgsl with elements of 64 bits, for parts of a multiple of 8 numbers.
// Grid and shapes are those of concat.wgsl; an invocation copies eight numbers.
//
// a        [B, Ca, ...]
// b        [B, Cb, ...]
// y, dy    [B, Ca + Cb, ...]
// dx       of the shape of a, or of b if SECOND
// FLOPs 0, backward with ADD n; bytes 8 n.

override ADD: bool;
override SECOND: bool;   // whether dx is the gradient of b

struct Dims { length_a: u32, length_b: u32 }   // elements of one image

@group(0) @binding(0) var<storage, read> a: array<vec4<u64>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<u64>>;
@group(0) @binding(3) var<uniform> dims: Dims;

// The same numbers. The driver stores an element faster if it is made from words of 32 bits, and
// not as loaded. `zero` is a number that the compiler does not know to be 0.
fn remade(v: vec4<u64>, zero: u32) -> vec4<u64> {
  let p = bitcast<vec4<f32>>(vec4<u32>(v) | vec4<u32>(zero));
  let q = bitcast<vec4<f32>>(vec4<u32>(v >> vec4<u32>(32u)) | vec4<u32>(zero));
  return interleave(p, q);
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z >> 1u);
  let image = lane.workgroup.y;
  let zero = dims.length_a >> 31u;
  let first = image * (dims.length_a + dims.length_b);
  if ((lane.workgroup.z & 1u) == 0u) {
    if (i < dims.length_a) {
      y[first + i] = remade(a[image * dims.length_a + i], zero);
    }
  } else if (i < dims.length_b) {
    y[first + dims.length_a + i] = remade(b[image * dims.length_b + i], zero);
  }
}

@group(0) @binding(0) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<u64>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
  let image = lane.workgroup.y;
  let zero = dims.length_a >> 31u;
  let length = select(dims.length_a, dims.length_b, SECOND);
  if (i < length) {
    let to = image * length + i;
    let gradient = dy[image * (dims.length_a + dims.length_b) + select(0u, dims.length_a, SECOND) + i];
    if (ADD) {
      let old = dx[to];
      dx[to] = interleave(even(old) + even(gradient), odd(old) + odd(gradient));
    } else {
      dx[to] = remade(gradient, zero);
    }
  }
}
