// y = max(x, 0), elementwise.
// dx = dy if x > 0, else 0
//
// x, y, dy, dx  [n], any shape
// One invocation computes four elements. FLOPs n each; bytes 8 n, backward 12 n.

override ADD: bool;
override LENGTH: u32;   // in vec4s

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    y[i] = max(x[i], vec4<f32>());
  }
}

@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    let value = select(vec4<f32>(), dy[i], x[i] > vec4<f32>());
    dx[i] = select(value, dx[i] + value, ADD);
  }
}
