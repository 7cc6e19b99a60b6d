// y[n] = Philox4x32-10(counters[n]), keyed by the seed of the run.
// Tests compare the words bit for bit with the known answers of the generator's authors.
//
// counters, y  [N, 4] u32
// One invocation per counter. FLOPs 0; bytes 32 N.

override COUNT: u32;   // N

@group(0) @binding(0) var<storage, read> counters: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let n = flat_index(lane);
  if (n < COUNT) {
    let c = counters[n];
    y[n] = random_words(c.x, c.y, c.z, c.w);
  }
}
