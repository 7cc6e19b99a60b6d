// y[b, :] = a[b, :] then b[b, :]: channels of two tensors one after the other.     a [B, Ca, ...]   b [B, Cb, ...]   y [B, Ca + Cb, ...]
// Of one image, each operand is one contiguous piece of y, so the kernels copy pieces and know neither height nor width.
// Grid (elements of an image, batch, operand): nothing is divided, and each workgroup copies from one operand. An invocation copies four
// elements where the pieces' lengths divide by 4 (LENGTH_A and LENGTH_B then count vec4s), else one (`_scalar`).
// FLOPs 0; bytes 8 n. The gradient of an operand is its piece of dy.

override LENGTH_A: u32;   // of one image
override LENGTH_B: u32;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  let first = image * (LENGTH_A + LENGTH_B);
  if (lane.workgroup.z == 0u) {
    if (i < LENGTH_A) {
      y[first + i] = a[image * LENGTH_A + i];
    }
  } else if (i < LENGTH_B) {
    y[first + LENGTH_A + i] = b[image * LENGTH_B + i];
  }
}

@group(0) @binding(0) var<storage, read> a_scalar: array<f32>;
@group(0) @binding(1) var<storage, read> b_scalar: array<f32>;
@group(0) @binding(2) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  let first = image * (LENGTH_A + LENGTH_B);
  if (lane.workgroup.z == 0u) {
    if (i < LENGTH_A) {
      y_scalar[first + i] = a_scalar[image * LENGTH_A + i];
    }
  } else if (i < LENGTH_B) {
    y_scalar[first + LENGTH_A + i] = b_scalar[image * LENGTH_B + i];
  }
}

override ADD: bool;
override LENGTH: u32;   // of the operand, OFFSET where it stands in an image of dy, STRIDE the length of an image of dy
override OFFSET: u32;
override STRIDE: u32;

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (i < LENGTH) {
    let to = image * LENGTH + i;
    let gradient = dy[image * STRIDE + OFFSET + i];
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
  let i = lane.workgroup.x * FLAT + lane.index;
  let image = lane.workgroup.y;
  if (i < LENGTH) {
    let to = image * LENGTH + i;
    let gradient = dy_scalar[image * STRIDE + OFFSET + i];
    if (ADD) {
      dx_scalar[to] += gradient;
    } else {
      dx_scalar[to] = gradient;
    }
  }
}
