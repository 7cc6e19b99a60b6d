// Reductions for the subgroup variant: one subgroup of L lanes is the whole workgroup, so they need
// no barrier and no workgroup memory, which are slow on software Vulkan. All lanes get the result.
// The driver chooses the order of additions in subgroupAdd; it is fixed for a device and a driver.

const WG = L;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
  return subgroupAdd(value);
}

// Sums over each aligned block of `span` lanes, where span is a power of two and at most WG. All
// lanes of a block get its sum.
fn span_sum(value: vec2<f32>, lane: Lane, span: u32) -> vec2<f32> {
  if (span == L) {
    return subgroupAdd(value);
  }
  var total = value;
  for (var width = span / 2u; width > 0u; width = width / 2u) {
    total += subgroupShuffleXor(total, width);
  }
  return total;
}

// x - k, see difference.wgsl. Software Vulkan drivers do not reorder additions, and there the
// integer operation would cost 4 % of a normalization.
fn difference(x: vec4<f32>, k: vec4<f32>, zero: u32) -> vec4<f32> {
  return x - k;
}
