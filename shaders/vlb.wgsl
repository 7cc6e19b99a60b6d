// loss[b] = mean over i of one term of the variational bound, in bits (Ho et al. 2020, eq. 5;
// Nichol and Dhariwal 2021, section 3.1)
//
// The model has the mean c0 x0hat + c1 xt with x0hat = clip(k0 xt + k1 m, -1, 1), and the log
// variance L = low + (v + 1) / 2 (high - low) (Nichol and Dhariwal 2021, eq. 15). The term is
//   if first is 0: KL(N(c0 x0 + c1 xt, posterior variance) || model)
//                  = (e^r - 1 - r + c0^2 (x0 - x0hat)^2 e^-L) / 2, r = log posterior variance - L
//   if first is 1: -log of the model's probability of the bin x0 +- 1/255, which reaches to
//                  infinity where |x0| > 0.999 (Ho et al. 2020, eq. 13)
// Only v has a gradient: dv = dy[b] / (n ln 2) (high - low) / 2 dterm/dL
//
// mean_output, v, x0, xt  [B, n]; mean_output is m
// table     [T, 8]: row t = (k0, k1, c0, c1, log posterior variance, low, high, first); first is 1
//           for t = 0, else 0
// t         [B] u32
// dx        [B, n]: dv
// loss, dy  [B]
// forward: one workgroup per image. backward: one invocation per element.
// FLOPs about 60 B n each; bytes 16 B n forward, 20 B n backward.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

const COEFFICIENTS = 8u;           // in a row of the table
const ROOT_HALF = 0.70710678;      // sqrt(1 / 2)
const PEAK = 0.39894228;           // 1 / sqrt(2 pi), the normal density at zero
const BITS = 1.44269504;           // 1 / ln 2

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> mean_output: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> x0: array<f32>;
@group(0) @binding(3) var<storage, read> xt: array<f32>;
@group(0) @binding(4) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> t: array<u32>;
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;
@group(0) @binding(8) var<uniform> dims: Dims;

// exp(a^2) erfc(a) for a >= 0. The polynomial is fitted to (1 + 2 a) exp(a^2) erfc(a) at the
// Chebyshev nodes of q in [-1, 1].
fn erfcx(a: f32) -> f32 {
  let q = (a - 4.0) / (a + 4.0);
  var p = 1.142081659e-4;
  p = p * q - 2.484367332e-4;
  p = p * q - 7.091327673e-4;
  p = p * q + 5.082269586e-3;
  p = p * q - 1.6230392e-2;
  p = p * q + 3.714045869e-2;
  p = p * q - 6.631904408e-2;
  p = p * q + 9.37402055e-2;
  p = p * q - 1.010409408e-1;
  p = p * q + 6.809617491e-2;
  p = p * q + 1.537976872e-2;
  p = p * q - 1.396210865e-1;
  p = p * q + 1.232995117;
  return p / (1.0 + 2.0 * a);
}

// The probability of a standard normal number above w >= 0.
fn upper_tail(w: f32) -> f32 {
  return 0.5 * exp(-0.5 * w * w) * erfcx(w * ROOT_HALF);
}

// -log of the normal probability above w, and its derivative in the log variance, where w is
// proportional to 1 / std.
fn beyond(w: f32) -> vec2<f32> {
  if (w > 0.0) {
    let scaled = 0.5 * erfcx(w * ROOT_HALF);
    return vec2<f32>(0.5 * w * w - log(scaled), -0.5 * w * PEAK / scaled);
  }
  let below = upper_tail(-w);
  return vec2<f32>(-log1p(-below), -0.5 * w * PEAK * exp(-0.5 * w * w) / (1.0 - below));
}

// -log of the normal probability of [z - h, z + h], z >= 0, and its derivative in the log variance,
// where z and h are proportional to 1 / std.
fn within(z: f32, h: f32) -> vec2<f32> {
  let w = z - h;
  if (h < 0.5 && z * h < 0.5) {
    // The interval is narrow, so a difference would cancel. The density relative to that at z is
    // exp(-z h u - h^2 u^2 / 2). It is integrated over u by the Gauss-Legendre rule with five
    // nodes; each pair of nodes +-u gives 2 cosh(z h u).
    let u = vec2<f32>(0.53846931, 0.90617985);
    let grow = exp(z * h * u);
    let weight = 0.5 * vec2<f32>(0.47862867, 0.23692689) * exp(-0.5 * h * h * u * u);
    let even = weight * (grow + 1.0 / grow);
    let odd = weight * (grow - 1.0 / grow);
    let total = 0.28444444 + even.x + even.y;
    let slope = dot(z * h * u, odd) - 0.5 * h * h * dot(u * u, even);
    return vec2<f32>(0.5 * z * z - log(2.0 * PEAK * h * total), 0.5 - 0.5 * z * z + slope / total);
  }
  if (w > 0.0) {
    let decay = exp(-2.0 * z * h);
    let scaled = 0.5 * (erfcx(w * ROOT_HALF) - decay * erfcx((z + h) * ROOT_HALF));
    return vec2<f32>(0.5 * w * w - log(scaled), 0.5 * PEAK * ((z + h) * decay - w) / scaled);
  }
  let outside = upper_tail(z + h) + upper_tail(-w);
  let slope = (z + h) * exp(-0.5 * (z + h) * (z + h)) - w * exp(-0.5 * w * w);
  return vec2<f32>(-log1p(-outside), 0.5 * PEAK * slope / (1.0 - outside));
}

// The term of element i of image b in nats, its derivative in L, and half of high - low.
fn term(b: u32, i: u32) -> vec3<f32> {
  let mean = table[COEFFICIENTS / 4u * t[b]];
  let variance = table[COEFFICIENTS / 4u * t[b] + 1u];
  let half = 0.5 * (variance.z - variance.y);
  let log_variance = variance.y + half + half * v[i];
  let guess = clamp(mean.x * xt[i] + mean.y * mean_output[i], -1.0, 1.0);
  if (abs(variance.w) > 0.5) {
    let inverse = exp(-0.5 * log_variance);
    let z = (x0[i] - (mean.z * guess + mean.w * xt[i])) * inverse;
    let h = inverse / 255.0;
    if (abs(x0[i]) > 0.999) {
      return vec3<f32>(beyond(sign(x0[i]) * z - h), half);
    }
    return vec3<f32>(within(abs(z), h), half);
  }
  let apart = mean.z * (x0[i] - guess);
  let square = apart * apart * exp(-log_variance);
  let r = variance.x - log_variance;
  return vec3<f32>(0.5 * (exp_above_line(r) + square), -0.5 * (expm1(r) + square), half);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  var sum = 0.0;
  for (var i = b * IMAGE_SIZE + lane.index; i < (b + 1u) * IMAGE_SIZE; i += WG) {
    sum += term(b, i).x;
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    loss[b] = total * (BITS / f32(IMAGE_SIZE));
  }
}

@group(0) @binding(6) var<storage, read> dy: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let b = i / IMAGE_SIZE;
    let slopes = term(b, i);
    let slope = dy[b] * (BITS / f32(IMAGE_SIZE)) * slopes.y * slopes.z;
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
