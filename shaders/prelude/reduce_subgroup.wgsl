// Reductions where one subgroup of L lanes is the whole workgroup: no barrier, no workgroup memory (software Vulkan, where both are dear).
// All lanes get the result. The order of subgroupAdd is the implementation's, and fixed for a device and driver.

const WG = L;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
  return subgroupAdd(value);
}

fn workgroup_max(value: f32, lane: Lane) -> f32 {
  return subgroupMax(value);
}
