// average += (1 - average_decay) (p - average)                 p, average  one slab, in vec4s
// The moving average of the parameters (Polyak), its decay given by the step.
// One invocation four elements. FLOPs 3 n; bytes 12 n.

struct Dims { length: u32 }

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
