// y = x sigmoid(x), elementwise.
// dx = dy s (1 + x (1 - s)), s = sigmoid(x)
//
// x, y, dy, dx  [n], any shape
// One invocation computes four elements. FLOPs about 10 n, backward 14 n; bytes 8 n, backward 12 n.

override ADD: bool;
override LENGTH: u32;   // in vec4s

// Above it 1 - s is 0 in f32. If a division is less exact than that, x (1 - s) grows no further.
const LARGE = 18.0;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    y[i] = x[i] / (1.0 + exp(-x[i]));
  }
}

@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    let s = 1.0 / (1.0 + exp(-x[i]));
    let value = dy[i] * s * (1.0 + min(x[i], vec4<f32>(LARGE)) * (1.0 - s));
    dx[i] = select(value, dx[i] + value, ADD);
  }
}
