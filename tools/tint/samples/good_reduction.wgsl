// good
/* nested /* comments */ are skipped: subgroupAdd @compute fn not_an_entry() */
override N: u32;
override WG: u32;
override EPS: f32 = 1e-5;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> part: array<f32, WG>;

@compute @workgroup_size(WG) fn forward(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < N; i += WG) { sum += x[i]; }
  part[lane] = sum;
  for (var s = WG / 2u; s > 0u; s >>= 1u) {
    workgroupBarrier();
    if (lane < s) { part[lane] += part[lane + s]; }
  }
  if (lane == 0u) { y[0] = part[0] + EPS; }
}
