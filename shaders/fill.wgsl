// y = VALUE
//
// y  [n], any shape
// One invocation writes four elements. FLOPs 0; bytes 4 n.

override VALUE: f32;

struct Dims { length: u32 }   // n / 4, rounded up

@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(1) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    y[i] = vec4<f32>(VALUE);
  }
}
