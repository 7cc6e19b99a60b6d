// loss[b] = w[t_b] mean over i of (x[b, i] - targets[b, i])^2
// dx[b, i] = dy[b] w[t_b] 2 / n (x[b, i] - targets[b, i])
// forward_plain and backward_plain leave out w[t_b], and bind neither w nor t.
// The weighted simple loss (Ho et al. 2020, eq. 14) of each image.
//
// x, targets, dx  [B, n]
// w               [T]: weights of the timesteps
// t               [B] u32
// loss, dy        [B]
// forward: one workgroup per image. backward: one invocation per element.
// FLOPs 3 B n each; bytes 8 B n forward, 12 B n backward.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> t: array<u32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<uniform> dims: Dims;

// Sum of squared differences of image b.
fn squared_error(b: u32, lane: Lane) -> f32 {
  var sum = 0.0;
  for (var i = lane.index; i < IMAGE_SIZE; i += WG) {
    let difference = x[b * IMAGE_SIZE + i] - targets[b * IMAGE_SIZE + i];
    sum += difference * difference;
  }
  return workgroup_sum(sum, lane);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  let total = squared_error(b, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    loss[b] = w[t[b]] * total / f32(IMAGE_SIZE);
  }
}

@compute @workgroup_size(WG)
fn forward_plain(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  let total = squared_error(b, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    loss[b] = total / f32(IMAGE_SIZE);
  }
}

@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let b = i / IMAGE_SIZE;
    let slope = dy[b] * w[t[b]] * 2.0 / f32(IMAGE_SIZE) * (x[i] - targets[i]);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}

@compute @workgroup_size(FLAT)
fn backward_plain(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let slope = dy[i / IMAGE_SIZE] * 2.0 / f32(IMAGE_SIZE) * (x[i] - targets[i]);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
