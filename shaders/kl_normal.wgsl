// kl[b] = sum over i of (mean^2 + exp(v) - 1 - v) / 2,  v = log_variance
// dmean = dy[b] mean;  dlog_variance = dy[b] (exp(v) - 1) / 2
// The divergence, in nats, of a diagonal normal distribution from the standard normal distribution
// (Kingma and Welling 2014, appendix B).
//
// mean, log_variance, dx  [B, n]; dx is either gradient
// kl, dy                  [B]
// forward: one workgroup per image. backward_*: one invocation per element.
// FLOPs about 16 B n each; bytes 8 B n forward, 12 B n backward.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> mean: array<f32>;
@group(0) @binding(1) var<storage, read> log_variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> kl: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  var sum = 0.0;
  for (var i = b * IMAGE_SIZE + lane.index; i < (b + 1u) * IMAGE_SIZE; i += WG) {
    sum += mean[i] * mean[i] + exp_above_line(log_variance[i]);
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    kl[b] = 0.5 * total;
  }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_mean(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let slope = dy[i / IMAGE_SIZE] * mean[i];
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}

@compute @workgroup_size(FLAT)
fn backward_log_variance(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let slope = dy[i / IMAGE_SIZE] * 0.5 * expm1(log_variance[i]);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
