// What the device can do at best: the two lines of the roofline.                                  x, y  [n]
//   copy           y = x                                       one invocation a vec4.  No FLOPs; bytes 8 n
//   multiply_add   y = sum of 12 chains c <- c / 2 + x          one invocation an element.  FLOPs 384 n rounds + 11 n; bytes 8 n
// Twelve chains that do not wait for each other, and a loop that the drivers unroll, keep the multiply-add units busy. c / 2 + x tends to
// 2 x from any start, so nothing overflows however many rounds there are.

struct Dims { rounds: u32 }   // not a constant: a longer run is the same pipeline

override LENGTH: u32;         // n; n / 4 for copy
const UNROLLED = 16u;
const CHAINS = 12u;

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
