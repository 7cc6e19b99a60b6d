// y[b] = c[t_b, 0] a[b] + c[t_b, 1] e[b]
// With c = (sqrt(alpha_bar), sqrt(1 - alpha_bar)), a = x0 and e = eps, this is the noised image x_t
// (Ho et al. 2020, eq. 4). With c = (-sqrt(1 - alpha_bar), sqrt(alpha_bar)) it is the velocity
// (Salimans and Ho 2022, section 4).
//
// a, e, y  [B, n]
// c        [T, 2]
// t        [B] u32
// One invocation per element. FLOPs 3 B n; bytes 12 B n.

override IMAGE_SIZE: u32;   // n

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> e: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> t: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let coefficient = c[t[i / IMAGE_SIZE]];
    y[i] = coefficient.x * a[i] + coefficient.y * e[i];
  }
}
