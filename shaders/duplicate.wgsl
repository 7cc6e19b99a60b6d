// y = (x, x), concatenated along the batch.
// Classifier-free guidance runs the network on y: each image without and with its label.
//
// x  [B, ...], n elements
// y  [2B, ...]
// One invocation per element of y. FLOPs 0; bytes 16 n.

struct Dims { length: u32 }   // n

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < 2u * dims.length) {
    y[i] = x[i % dims.length];
  }
}
