// bad 7: 'workgroupBarrier' must only be called from uniform control flow
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
var<workgroup> part: array<f32, 64>;
@compute @workgroup_size(64) fn forward(@builtin(local_invocation_index) lane: u32) {
  part[lane] = x[lane];
  if (lane < 7u) {
    workgroupBarrier();
  }
  x[lane] = part[63u - lane];
}
