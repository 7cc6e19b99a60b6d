// The peaks of a device, which are the two lines of the roofline.
//
//   copy          y = x
//   multiply_add  sums = sum of CHAINS chains, each repeating c <- c / 2 + a
//
// x, y     [n]
// a, sums  [n]
// copy: one invocation copies a vec4. FLOPs 0; bytes 8 n.
// multiply_add: one invocation per element. FLOPs 384 n rounds + 11 n; bytes 8 n. The chains do not
// depend on each other, and drivers unroll the inner loop, so the multiply-add units stay busy.
// c / 2 + a tends to 2 a from any start, so no number of rounds overflows.

struct Dims { rounds: u32 }   // not an override, so that all runs share a pipeline

override LENGTH: u32;         // n; n / 4 for copy
const UNROLLED = 16u;         // multiply-adds of a chain in one round
const CHAINS = 12u;           // c0 to c11

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn copy(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    y[i] = x[i];
  }
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn multiply_add(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    let v = a[i];
    var c0 = 0.0; var c1 = 1.0; var c2 = 2.0; var c3 = 3.0; var c4 = 4.0; var c5 = 5.0;
    var c6 = 6.0; var c7 = 7.0; var c8 = 8.0; var c9 = 9.0; var c10 = 10.0; var c11 = 11.0;
    for (var round = 0u; round < dims.rounds; round++) {
      for (var k = 0u; k < UNROLLED; k++) {
        c0 = fma(c0, 0.5, v); c1 = fma(c1, 0.5, v); c2 = fma(c2, 0.5, v); c3 = fma(c3, 0.5, v);
        c4 = fma(c4, 0.5, v); c5 = fma(c5, 0.5, v); c6 = fma(c6, 0.5, v); c7 = fma(c7, 0.5, v);
        c8 = fma(c8, 0.5, v); c9 = fma(c9, 0.5, v); c10 = fma(c10, 0.5, v); c11 = fma(c11, 0.5, v);
      }
    }
    sums[i] = c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11;
  }
}
