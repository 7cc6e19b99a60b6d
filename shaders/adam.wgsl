// One step of AdamW (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2):
//   g' = scale g;  m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'^2
//   p = p - rate (c1 m / (sqrt(c2 v) + epsilon) + decay p)
//   c1 = 1 / (1 - b1^n), c2 = 1 / (1 - b2^n) at step n
// A step whose gradient is not finite changes nothing.
//
// p, m, v  [n], updated in place: all parameters of the network and both moments
// g        [n]: all gradients
// norm     [4] = (|g|, scale, finite, 0), from gradient_norm.wgsl
// One invocation updates four elements. FLOPs 15 n; bytes 28 n.

override BETA1: f32;
override BETA2: f32;
override EPSILON: f32;
override WEIGHT_DECAY: f32;

struct Dims { length: u32 }   // n / 4, rounded up

@group(0) @binding(0) var<storage, read_write> p: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length && norm[2] == 1.0) {
    let slope = norm[1] * g[i];
    let first = BETA1 * m[i] + (1.0 - BETA1) * slope;
    let second = BETA2 * v[i] + (1.0 - BETA2) * slope * slope;
    m[i] = first;
    v[i] = second;
    let update = step.first_correction * first / (sqrt(step.second_correction * second) + EPSILON);
    p[i] -= step.learning_rate * (update + WEIGHT_DECAY * p[i]);
  }
}
