// good
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
struct Lane { @builtin(subgroup_invocation_id) lane: u32, @builtin(global_invocation_id) at: vec3<u32> }
@compute @workgroup_size(64) fn forward(in: Lane) {
  x[in.at.x] = subgroupShuffle(x[in.at.x], 3u) + subgroupAdd(f32(in.lane));
}
