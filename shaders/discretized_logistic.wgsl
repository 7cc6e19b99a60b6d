// loss[b] = sum over i of -log P,  P = sigmoid(z + h) - sigmoid(z - h),
//           z = (x - mean) / s,  h = (1/255) / s,  s = exp(max(log_scale, -7))
// The negative log-likelihood, in nats, of pixels in [-1, 1] with 256 values. The first and the
// last bin reach to infinity: in P, sigmoid(z + h) is 1 if x > 0.999, and sigmoid(z - h) is 0 if x
// < -0.999 (Salimans et al. 2017, "PixelCNN++", section 2.1, with one component).
//
// As a sum in which nothing cancels:
//   -log P = log(1 + exp(-z - h)) + log(1 + exp(z - h)) - log(1 - exp(-2 h))
// and for the first and last bin only one of the first two terms.
// Gradients, with u = sigmoid(-z - h) and v = sigmoid(z - h), each 0 if its term is absent:
//   dmean = dy (u - v) / s
//   dlog_scale = dy (z (u - v) + h (u + v) + 2 h / (exp(2 h) - 1)), without the last term in the
//                first and last bin; 0 if log_scale < -7
//
// mean, log_scale, x  [B, n]
// dx                  [B, n]: dmean or dlog_scale
// loss, dy            [B]
// forward: one workgroup per image. backward_*: one invocation per element.
// FLOPs about 70 B n each; bytes 12 B n forward, 16 B n backward.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

const LOWEST: f32 = -7.0;   // smallest log scale
const EDGE = 0.999;    // |x| above this is in the first or last bin

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> mean: array<f32>;
@group(0) @binding(1) var<storage, read> log_scale: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

// (z, h, 1 / s) of element i.
fn place(i: u32) -> vec3<f32> {
  let inverse = exp(-max(log_scale[i], LOWEST));
  return vec3<f32>(x[i] - mean[i], 1.0 / 255.0, 1.0) * inverse;
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  var sum = 0.0;
  for (var i = b * IMAGE_SIZE + lane.index; i < (b + 1u) * IMAGE_SIZE; i += WG) {
    let at = place(i);
    if (x[i] > EDGE) {
      sum += softplus(at.x - at.y);
    } else if (x[i] < -EDGE) {
      sum += softplus(-at.x - at.y);
    } else {
      sum += softplus(-at.x - at.y) + softplus(at.x - at.y) - log1mexp(2.0 * at.y);
    }
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    loss[b] = total;
  }
}

// (u - v, u + v). In the bins between, u - v = -sign(z) v' u' (1 - exp(-2 |z|)) with the sigmoids
// v' of |z| - h and u' of |z| + h.
fn slopes(at: vec3<f32>, value: f32) -> vec2<f32> {
  let u = sigmoid(-at.x - at.y);
  let v = sigmoid(at.x - at.y);
  if (value > EDGE) {
    return vec2<f32>(-v, v);
  }
  if (value < -EDGE) {
    return vec2<f32>(u, u);
  }
  let size = abs(at.x);
  let difference = sigmoid(size - at.y) * sigmoid(size + at.y) * expm1(-2.0 * size);
  return vec2<f32>(select(-difference, difference, at.x > 0.0), u + v);
}

@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_mean(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let at = place(i);
    let slope = dy[i / IMAGE_SIZE] * slopes(at, x[i]).x * at.z;
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}

@compute @workgroup_size(FLAT)
fn backward_log_scale(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let at = place(i);
    let both = slopes(at, x[i]);
    let width = select(2.0 * at.y / expm1(2.0 * at.y), 0.0, abs(x[i]) > EDGE);
    let inside = at.x * both.x + at.y * both.y + width;
    let slope = dy[i / IMAGE_SIZE] * select(inside, 0.0, log_scale[i] < LOWEST);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
