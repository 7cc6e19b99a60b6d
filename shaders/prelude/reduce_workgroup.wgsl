// Reductions for the tiled variant: a fixed tree in workgroup memory. It needs no subgroups, so it
// runs on every device. All lanes get the result. The functions end with a barrier, so the
// workgroup memory can be used again at once.

const WG = 256u;

var<workgroup> scratch: array<f32, WG>;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
  scratch[lane.index] = value;
  workgroupBarrier();
  for (var width = WG / 2u; width > 0u; width = width / 2u) {
    if (lane.index < width) {
      scratch[lane.index] += scratch[lane.index + width];
    }
    workgroupBarrier();
  }
  let total = scratch[0];
  workgroupBarrier();
  return total;
}

var<workgroup> scratch_pairs: array<vec2<f32>, WG>;

// Sums over each aligned block of `span` lanes, where span is a power of two and at most WG. All
// lanes of a block get its sum.
fn span_sum(value: vec2<f32>, lane: Lane, span: u32) -> vec2<f32> {
  scratch_pairs[lane.index] = value;
  workgroupBarrier();
  for (var width = span / 2u; width > 0u; width = width / 2u) {
    if (lane.index % span < width) {
      scratch_pairs[lane.index] += scratch_pairs[lane.index + width];
    }
    workgroupBarrier();
  }
  let total = scratch_pairs[lane.index - lane.index % span];
  workgroupBarrier();
  return total;
}

// x - k, which no compiler merges with a later addition. For `zero` pass a number that is 0, which
// the compiler does not know: the upper bit of a size in a uniform.
//
// Metal and DirectX compile with fast math, as WGSL allows (section 15.7.5, "Reassociation and
// Fusion"). Then x - k - m may become x - (k + m), with k + m computed once before a loop. If the
// mean of x is large compared with its deviation, k + m is rounded to a multiple of the unit in the
// last place of the mean, and the small difference from x is wrong by as much. No order of
// floating-point operations is safe from this, also not fma(x, 1, -k), and a bitcast there and back
// is removed. But a compiler cannot move an addition through an integer operation whose result it
// does not know.
fn difference(x: vec4<f32>, k: vec4<f32>, zero: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x - k) | vec4<u32>(zero));
}
