// y[b, :] = x[b, first .. first + length]: some of the channels.       x [B, C, ...]   y [B, count, ...]
// Of one image, the channels are one contiguous piece of x, so the kernels copy pieces and know neither height nor width.
// Grid (elements of an image, batch): nothing is divided. An invocation copies four elements where the piece begins and ends at multiples of 4
// and the image does (all lengths then count vec4s), else one (`_scalar`).
// FLOPs 0; bytes 8 n for n elements of y. The first gradient is stored over the whole of x, zero outside of the piece; later ones are added
// to the piece alone.

struct Dims {
  first: u32,          // where the piece begins in an image of x
  length: u32,         // of the piece
  image_length: u32,   // of an image of x
}

@group(0) @binding(2) var<uniform> dims: Dims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (i < dims.length) {
    y[image * dims.length + i] = x[image * dims.image_length + dims.first + i];
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (i < dims.length) {
    y_scalar[image * dims.length + i] = x_scalar[image * dims.image_length + dims.first + i];
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (ADD) {
    if (i < dims.length) {
      dx[image * dims.image_length + dims.first + i] += dy[image * dims.length + i];
    }
  } else if (i < dims.image_length) {
    var gradient = vec4<f32>();
    if (i - dims.first < dims.length) {   // before the piece: wraps to large numbers
      gradient = dy[image * dims.length + i - dims.first];
    }
    dx[image * dims.image_length + i] = gradient;
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (ADD) {
    if (i < dims.length) {
      dx_scalar[image * dims.image_length + dims.first + i] += dy_scalar[image * dims.length + i];
    }
  } else if (i < dims.image_length) {
    var gradient = 0.0;
    if (i - dims.first < dims.length) {
      gradient = dy_scalar[image * dims.length + i - dims.first];
    }
    dx_scalar[image * dims.image_length + i] = gradient;
  }
}
