// average += (1 - decay) (p - average)
// The exponential moving average of the parameters (Polyak and Juditsky 1992). decay is
// step.ema_decay.
//
// average  [n], updated in place
// p        [n]: all parameters
// One invocation updates four elements. FLOPs 3 n; bytes 12 n.

struct Dims { length: u32 }   // n / 4, rounded up

@group(0) @binding(0) var<storage, read_write> average: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> p: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    average[i] += (1.0 - step.ema_decay) * (p[i] - average[i]);
  }
}
