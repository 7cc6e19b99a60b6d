// Reductions by a fixed tree in workgroup memory: portable to devices without subgroups, whatever their width. All lanes get the result,
// and the scratch may be used again at once: both functions end with a barrier.

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

fn workgroup_max(value: f32, lane: Lane) -> f32 {
  scratch[lane.index] = value;
  workgroupBarrier();
  for (var width = WG / 2u; width > 0u; width = width / 2u) {
    if (lane.index < width) {
      scratch[lane.index] = max(scratch[lane.index], scratch[lane.index + width]);
    }
    workgroupBarrier();
  }
  let largest = scratch[0];
  workgroupBarrier();
  return largest;
}
