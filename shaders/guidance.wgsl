// m = u + s (c - u), s = step.guidance
// Classifier-free guidance (Ho and Salimans 2022, eq. 6, with s = 1 + w): u is the network's output
// without a label, c the one with its label.
//
// `rescaled` mixes this value, g, with a g that has the standard deviation of c (Lin et al. 2023,
// section 3.4): m = RESCALE g std(c) / std(g) + (1 - RESCALE) g. The standard deviations are
// computed over an image's elements. If std(g) is 0, m = g.
//
// model  [2B, n]: u, then c
// m      [B, n]
// forward: one invocation per element of m. FLOPs 3 B n; bytes 12 B n.
// rescaled: one workgroup per image. It sums for the means first and then the squared differences,
// so that no difference of squares loses digits. FLOPs 18 B n; bytes 28 B n, partly from a cache.

override IMAGE_SIZE: u32;   // n
override RESCALE: f32;

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> model: array<f32>;
@group(0) @binding(1) var<storage, read_write> m: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

// (c, g) of element i.
fn guided(i: u32) -> vec2<f32> {
  let u = model[i];
  let c = model[i + dims.length];
  return vec2<f32>(c, u + step.guidance * (c - u));
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    m[i] = guided(i).y;
  }
}

@compute @workgroup_size(WG)
fn rescaled(lane: Lane) {
  let image = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  let live = workgroup_index(lane) == image;
  let first = image * IMAGE_SIZE;
  var sum = vec2<f32>();
  for (var i = lane.index; i < IMAGE_SIZE; i += WG) {
    sum += guided(first + i);
  }
  let mean = span_sum(sum, lane, WG) / f32(IMAGE_SIZE);
  var squares = vec2<f32>();
  for (var i = lane.index; i < IMAGE_SIZE; i += WG) {
    let apart = guided(first + i) - mean;
    squares += apart * apart;
  }
  let total = span_sum(squares, lane, WG);
  // An image without contrast may differ from its rounded mean by a few units in the last place.
  let noise = mean.y * 0x1p-20;
  var ratio = 1.0;
  if (total.y > f32(IMAGE_SIZE) * noise * noise) {
    ratio = sqrt(total.x / total.y);
  }
  for (var i = lane.index; live && i < IMAGE_SIZE; i += WG) {
    let g = guided(first + i).y;
    m[first + i] = RESCALE * g * ratio + (1.0 - RESCALE) * g;
  }
}
