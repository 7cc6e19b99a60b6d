// y[b, :] = x[b, first .. first + length]: some of the channels.
// The first gradient is stored over all of dx, with zeros outside of the slice. Later gradients are
// added to the slice alone.
//
// x, dx  [B, C, ...]
// y, dy  [B, count, ...], n elements
//
// In one image, the channels are one contiguous part of x. So the kernels copy parts and need
// neither height nor width. Grid: (elements of an image, batch, row), so that no index is divided.
// An invocation copies four elements if the part begins and ends at multiples of 4 and the image
// ends at one (then all lengths count vec4s), otherwise one (entry points `*_scalar`).
// FLOPs 0, backward with ADD n; bytes 8 n, the first backward 4 n and 4 per element of dx.

struct Dims {
  first: u32,          // index of the slice in an image of x
  length: u32,         // of the slice
  image_length: u32,   // of an image of x
}

@group(0) @binding(2) var<uniform> dims: Dims;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
  let image = lane.workgroup.y;
  if (i < dims.length) {
    y[image * dims.length + i] = x[image * dims.image_length + dims.first + i];
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
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
  let i = piece_index(lane, lane.workgroup.z);
  let image = lane.workgroup.y;
  if (ADD) {
    if (i < dims.length) {
      dx[image * dims.image_length + dims.first + i] += dy[image * dims.length + i];
    }
  } else if (i < dims.image_length) {
    var gradient = vec4<f32>();
    if (i - dims.first < dims.length) {   // before the slice the difference wraps
      gradient = dy[image * dims.length + i - dims.first];
    }
    dx[image * dims.image_length + i] = gradient;
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
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
