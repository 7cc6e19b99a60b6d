// y = SCALE x + SHIFT, elementwise.
// dx = SCALE dy
//
// x, y, dy, dx  [n], any shape
// One invocation computes four elements. FLOPs 2 n, backward n; bytes 8 n each.

override ADD: bool;
override LENGTH: u32;   // in vec4s
override SCALE: f32;
override SHIFT: f32;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    y[i] = SCALE * x[i] + SHIFT;
  }
}

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    dx[i] = select(SCALE * dy[i], dx[i] + SCALE * dy[i], ADD);
  }
}
