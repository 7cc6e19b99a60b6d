// bad : entry point 'forward'
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> d: array<f32>;
@group(0) @binding(4) var<storage, read> e: array<f32>;
@group(0) @binding(5) var<storage, read> f: array<f32>;
@group(0) @binding(6) var<storage, read> g: array<f32>;
@group(0) @binding(7) var<storage, read> h: array<f32>;
@group(0) @binding(8) var<storage, read> i: array<f32>;
@compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>) {
  a[at.x] = b[0] + c[0] + d[0] + e[0] + f[0] + g[0] + h[0] + i[0];
}
