// Reductions where one subgroup of L lanes is the whole workgroup: no barrier, no workgroup memory (software Vulkan, where both are dear).
// All lanes get the result. The order of subgroupAdd is the implementation's, and fixed for a device and driver.

const WG = L;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
  return subgroupAdd(value);
}

// Sums over each aligned block of `span` lanes (a power of two, at most WG); all lanes of a block get its result.
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
