// Reductions for the tiled variant on devices without subgroup operations: a fixed tree in
// workgroup memory. All lanes get the result. The functions end with a barrier, so the workgroup
// memory can be used again at once.

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
