// y = a + b, elementwise.
// dx = dy for both operands. The tape passes dy on without a copy where it can; otherwise
// `backward` copies or adds it.
//
// a, b, y, dy, dx  [n]: tensors of one shape
// One invocation computes four elements. FLOPs n; bytes 12 n, backward 8 n.

override ADD: bool;

struct Dims { length: u32 }   // in vec4s

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    y[i] = a[i] + b[i];
  }
}

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    dx[i] = select(dy[i], dx[i] + dy[i], ADD);
  }
}
