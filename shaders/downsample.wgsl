// y[p, h, w] = (x[p, 2h, 2w] + x[p, 2h, 2w + 1] + x[p, 2h + 1, 2w] + x[p, 2h + 1, 2w + 1]) / 4: the mean of blocks of 2 x 2.
// x [B, C, H, W]   y [B, C, H / 2, W / 2], rounded down: a last odd row or column is left out, and its gradient is zero.
// All planes are one list of rows. Where H is even and W divides by 4, an invocation computes two neighbours from two vec4s; else (`_scalar`)
// one element of y, and backward one element of x. FLOPs 4 n, backward n; bytes 20 n for n elements of y.

override WIDTH: u32;        // of x
override HEIGHT: u32;

struct Dims {
  length: u32,              // invocations
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Where the upper row of the block of unit i begins in x, in vec4s; the lower is WIDTH / 4 further.
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
