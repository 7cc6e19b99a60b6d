// bad 8: 'workgroupBarrier' must only be called from uniform control flow
override N: u32;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
var<workgroup> part: array<f32, 64>;
@compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (at.x >= N) { return; }
  part[lane] = x[at.x];
  workgroupBarrier();
  x[at.x] = part[63u - lane];
}
