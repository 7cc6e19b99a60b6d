// bad 4: 'subgroupAdd' must only be called from subgroup uniform control flow
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>) {
  if (x[at.x] > 0.0) { x[at.x] = subgroupAdd(x[at.x]); }
}
