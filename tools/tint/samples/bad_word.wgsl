// bad 4: unresolved value 'y'
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>) {
  x[at.x] = y;
}
