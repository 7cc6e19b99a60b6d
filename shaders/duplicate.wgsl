// y = (x, x) along the batch                                   x [B, ...], y [2B, ...]
// What classifier-free guidance runs the network on: each image once without and once with its label.
// One invocation an element of y. Bytes 16 n.

struct Dims { length: u32 }   // of x

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
