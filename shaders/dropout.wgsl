// y[b, i] = x[b, i] / (1 - RATE) if kept, else 0
// dx[b, i] = dy[b, i] / (1 - RATE) if kept, else 0
// Dropout scales the kept elements in training (Srivastava et al. 2014, JMLR 15, section 10), so
// that sampling needs no change. Element i is kept if its word of
// Philox(STREAM_DROPOUT | layer << 8, step, first_image + b, i / 4), as a number in [0, 1) with 24
// bits, is at least RATE. The backward pass computes the mask again instead of storing it.
//
// x, y, dy, dx  [B, n]
// One invocation computes a block of four elements of an image: a vec4 if n is a multiple of 4,
// else up to four elements (entry points `*_scalar`).
// FLOPs B n, and about 40 integer operations per element for the random numbers; bytes 8 B n.

override RATE: f32;

// Not overrides: a network has many layers and sizes, and each override needs a compilation.
struct Dims {
  layer: u32,               // below 2^24
  image_size: u32,          // n
  batch: u32,               // B
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Which elements of a block are kept.
fn kept(b: u32, block: u32) -> vec4<bool> {
  let words = random_words(STREAM_DROPOUT | (dims.layer << 8u), step.index, step.first_image + b, block);
  return vec4<f32>(words >> vec4<u32>(8u)) * 0x1p-24 >= vec4<f32>(RATE);
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  let blocks = dims.image_size / 4u;
  let b = i / blocks;
  if (b < dims.batch) {
    y[i] = select(vec4<f32>(), x[i] / (1.0 - RATE), kept(b, i % blocks));
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let blocks = (dims.image_size + 3u) / 4u;
  let b = i / blocks;
  let first = i % blocks * 4u;
  if (b < dims.batch) {
    let keep = kept(b, i % blocks);
    for (var k = 0u; k < 4u && first + k < dims.image_size; k++) {
      let at = b * dims.image_size + first + k;
      y_scalar[at] = select(0.0, x_scalar[at] / (1.0 - RATE), keep[k]);
    }
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  let blocks = dims.image_size / 4u;
  let b = i / blocks;
  if (b < dims.batch) {
    let gradient = select(vec4<f32>(), dy[i] / (1.0 - RATE), kept(b, i % blocks));
    if (ADD) {
      dx[i] += gradient;
    } else {
      dx[i] = gradient;
    }
  }
}

@group(0) @binding(0) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let blocks = (dims.image_size + 3u) / 4u;
  let b = i / blocks;
  let first = i % blocks * 4u;
  if (b < dims.batch) {
    let keep = kept(b, i % blocks);
    for (var k = 0u; k < 4u && first + k < dims.image_size; k++) {
      let at = b * dims.image_size + first + k;
      let gradient = select(0.0, dy_scalar[at] / (1.0 - RATE), keep[k]);
      if (ADD) {
        dx_scalar[at] += gradient;
      } else {
        dx_scalar[at] = gradient;
      }
    }
  }
}
