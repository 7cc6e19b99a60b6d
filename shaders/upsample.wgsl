// y[p, 2h + i, 2w + j] = x[p, h, w] for i, j in {0, 1}: nearest-neighbor upsampling by 2.
// dx = the sum of dy over the block of 2 x 2, rows first.
//
// x, dx  [B, C, H, W], n elements; p counts the B C planes
// y, dy  [B, C, 2 H, 2 W]
//
// All planes are one list of rows: row r of x becomes rows 2r and 2r + 1 of y. An invocation does
// two neighboring elements of a row of x if W is even, so that all rows of y consist of vec4s;
// otherwise one (entry points `*_scalar`). FLOPs 0, backward 3 n; bytes 20 n each.

override WIDTH: u32;    // W in units of an invocation: pairs, or elements in `*_scalar`

struct Dims {
  length: u32,          // n in the same units
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Index of the upper row of unit i in y. The lower row is WIDTH further on.
fn block(i: u32) -> u32 {
  return i + i / WIDTH * WIDTH;
}

@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let value = x[i].xxyy;
    y[block(i)] = value;
    y[block(i) + WIDTH] = value;
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<vec2<f32>>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let value = vec2<f32>(x_scalar[i]);
    y_scalar[block(i)] = value;
    y_scalar[block(i) + WIDTH] = value;
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec2<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let rows = dy[block(i)] + dy[block(i) + WIDTH];
    let sum = rows.xz + rows.yw;
    if (ADD) {
      dx[i] += sum;
    } else {
      dx[i] = sum;
    }
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let rows = dy_scalar[block(i)] + dy_scalar[block(i) + WIDTH];
    let sum = rows.x + rows.y;
    if (ADD) {
      dx_scalar[i] += sum;
    } else {
      dx_scalar[i] = sum;
    }
  }
}
