// y = (x, sin(2^f pi z), cos(2^f pi z), sin(2^(f+1) pi z), cos(2^(f+1) pi z), ...) along the
// channels, for N frequencies and z = 255/256 x (Kingma et al. 2021, appendix C).
// dx = dy_0 + sum over k of 255/256 2^(f+k) pi (cos dy_sin - sin dy_cos)
//
// x, dx  [B, C, n]
// y, dy  [B, (1 + 2 N) C, n]
// One invocation per element of x. FLOPs about 20 N B C n, backward 25 N B C n; bytes 4 (2 + 2 N)
// B C n.

override ADD: bool;
override IMAGE: u32;    // C n
override FIRST: u32;    // f
override COUNT: u32;    // N

struct Dims { length: u32 }   // B C n

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

// Distance to the nearest whole number, from -1/2 to 1/2.
fn fraction(turns: f32) -> f32 {
  return turns - floor(turns + 0.5);
}

// (cos, sin) of 2^f pi z. The turns are 2^(f-1) z = 2^(f-1) x - 2^(f-9) x. Both terms are exact in
// f32, and so is the fraction of the first, which would be lost in a product with 255/256.
fn wave(x: f32, f: u32) -> vec2<f32> {
  let turns = 0.5 * x * f32(1u << f);
  let part = fraction(fraction(turns) - turns * 0x1p-8);
  return unit_circle(bitcast<u32>(i32(part * 0x1p31)) << 1u);
}

// Index of element i of x in the first block of channels of y.
fn place(i: u32) -> u32 {
  return (i / IMAGE) * (1u + 2u * COUNT) * IMAGE + i % IMAGE;
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let at = place(i);
    y[at] = x[i];
    for (var k = 0u; k < COUNT; k++) {
      let w = wave(x[i], FIRST + k);
      y[at + (1u + 2u * k) * IMAGE] = w.y;
      y[at + (2u + 2u * k) * IMAGE] = w.x;
    }
  }
}

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let at = place(i);
    var sum = dy[at];
    for (var k = 0u; k < COUNT; k++) {
      let w = wave(x[i], FIRST + k);
      let slope = 3.12932080728671 * f32(1u << (FIRST + k));   // 255/256 pi
      sum += slope * (w.x * dy[at + (1u + 2u * k) * IMAGE] - w.y * dy[at + (2u + 2u * k) * IMAGE]);
    }
    if (ADD) {
      sum += dx[i];
    }
    dx[i] = sum;
  }
}
