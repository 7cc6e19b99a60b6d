// y[p, 2h + i, 2w + j] = x[p, h, w] for i, j in {0, 1}: nearest neighbour, twice as high and wide.   x [B, C, H, W]   y [B, C, 2H, 2W]
// All planes are one list of rows: row r of x is rows 2r and 2r + 1 of y. An invocation writes the blocks of two neighbours of a row where W
// is even (so all rows of y are made of vec4s), else of one (`_scalar`). FLOPs 0, backward 3 n; bytes 20 n for n elements of x.
// The gradient is the sum of the block, rows first.

override WIDTH: u32;    // of x, in units of an invocation: pairs, or elements in `_scalar`

struct Dims {
  length: u32,          // of x, in the same units
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Where the upper row of the block of unit i begins in y; the lower is WIDTH further.
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
