// good
alias Elem = f16;
@group(0) @binding(0) var<storage, read_write> x: array<Elem>;
@compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>) { x[at.x] = x[at.x] * 2.0h; }
