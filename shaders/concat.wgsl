// y[b] = (a[b], b[b]): concatenates the channels of two tensors.
// The gradient of an operand is its part of dy.
//
// a        [B, Ca, ...]
// b        [B, Cb, ...]
// y, dy    [B, Ca + Cb, ...]
// dx       of the shape of a, or of b if SECOND
//
// In one image, each operand is one contiguous part of y. So the kernels copy parts and need
// neither height nor width. Grid: (elements of an image, batch, row and operand), so that no index
// is divided and each workgroup copies from one operand. A row has as many workgroups as the first
// dimension of the grid. An invocation copies four elements if the
// lengths of the parts are multiples of 4 (then the lengths count vec4s), otherwise one (entry
// points `*_scalar`).
// FLOPs 0, backward with ADD n; bytes 8 n.

struct Dims { length_a: u32, length_b: u32 }   // elements or vec4s of one image

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z >> 1u);
  let image = lane.workgroup.y;
  let first = image * (dims.length_a + dims.length_b);
  if ((lane.workgroup.z & 1u) == 0u) {
    if (i < dims.length_a) {
      y[first + i] = a[image * dims.length_a + i];
    }
  } else if (i < dims.length_b) {
    y[first + dims.length_a + i] = b[image * dims.length_b + i];
  }
}

@group(0) @binding(0) var<storage, read> a_scalar: array<f32>;
@group(0) @binding(1) var<storage, read> b_scalar: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z >> 1u);
  let image = lane.workgroup.y;
  let first = image * (dims.length_a + dims.length_b);
  if ((lane.workgroup.z & 1u) == 0u) {
    if (i < dims.length_a) {
      y_scalar[first + i] = a_scalar[image * dims.length_a + i];
    }
  } else if (i < dims.length_b) {
    y_scalar[first + dims.length_a + i] = b_scalar[image * dims.length_b + i];
  }
}

override ADD: bool;
override SECOND: bool;   // whether dx is the gradient of b

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
  let image = lane.workgroup.y;
  let length = select(dims.length_a, dims.length_b, SECOND);
  if (i < length) {
    let to = image * length + i;
    let gradient = dy[image * (dims.length_a + dims.length_b) + select(0u, dims.length_a, SECOND) + i];
    if (ADD) {
      dx[to] += gradient;
    } else {
      dx[to] = gradient;
    }
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = piece_index(lane, lane.workgroup.z);
  let image = lane.workgroup.y;
  let length = select(dims.length_a, dims.length_b, SECOND);
  if (i < length) {
    let to = image * length + i;
    let gradient = dy_scalar[image * (dims.length_a + dims.length_b) + select(0u, dims.length_a, SECOND) + i];
    if (ADD) {
      dx_scalar[to] += gradient;
    } else {
      dx_scalar[to] = gradient;
    }
  }
}
