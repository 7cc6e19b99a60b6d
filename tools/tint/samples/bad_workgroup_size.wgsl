// bad : entry point 'forward'
override WG: u32;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(WG, WG, 2) fn forward(@builtin(global_invocation_id) at: vec3<u32>) { x[at.x] = 1.0; }
