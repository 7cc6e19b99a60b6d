// y[p, h, w] = (x[p, 2h, 2w] + x[p, 2h, 2w + 1] + x[p, 2h + 1, 2w] + x[p, 2h + 1, 2w + 1]) / 4: the
// mean of blocks of 2 x 2.
// dx = dy / 4 at each element of a block; 0 in a last odd row or column, which no block contains.
//
// x, dx  [B, C, H, W]; p counts the B C planes
// y, dy  [B, C, H / 2, W / 2], rounded down
//
// All planes are one list of rows. If H is even and W is a multiple of 4, an invocation computes
// two neighboring elements of y from two vec4s. Otherwise (entry points `*_scalar`) it computes one
// element of y, or of dx in the backward pass.
// For n elements of y: FLOPs 4 n, backward n; bytes 20 n.

override WIDTH: u32;        // W
override HEIGHT: u32;       // H

struct Dims {
  length: u32,              // invocations
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Index, in vec4s, of the upper row of unit i in x. The lower row is WIDTH / 4 further on.
fn block(i: u32) -> u32 {
  let units = WIDTH / 4u;
  return i + i / units * units;
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec2<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let rows = x[block(i)] + x[block(i) + WIDTH / 4u];
    y[i] = (rows.xz + rows.yw) * 0.25;
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let width = WIDTH / 2u;
  let height = HEIGHT / 2u;
  if (i < dims.length) {
    let row = i / width;
    let corner = (row / height * HEIGHT + row % height * 2u) * WIDTH + i % width * 2u;
    let rows = vec2<f32>(x_scalar[corner], x_scalar[corner + 1u])
      + vec2<f32>(x_scalar[corner + WIDTH], x_scalar[corner + WIDTH + 1u]);
    y_scalar[i] = (rows.x + rows.y) * 0.25;
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let gradient = dy[i].xxyy * 0.25;
    let upper = block(i);
    let lower = upper + WIDTH / 4u;
    if (ADD) {
      dx[upper] += gradient;
      dx[lower] += gradient;
    } else {
      dx[upper] = gradient;
      dx[lower] = gradient;
    }
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let width = WIDTH / 2u;
  let height = HEIGHT / 2u;
  if (i < dims.length) {
    let row = i / WIDTH;
    let h = row % HEIGHT / 2u;
    let w = i % WIDTH / 2u;
    var gradient = 0.0;
    if (h < height && w < width) {
      gradient = dy_scalar[(row / HEIGHT * height + h) * width + w] * 0.25;
    }
    if (ADD) {
      dx_scalar[i] += gradient;
    } else {
      dx_scalar[i] = gradient;
    }
  }
}
