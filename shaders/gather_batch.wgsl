// Images and labels of a batch, from a data set in device memory.
//
//   images   x[b, i] = pixels[image[b], i] / 127.5 - 1. With FLIP, image b is mirrored left to
//            right if the first word of Philox(STREAM_FLIP, step, first_image + b, 0) is odd.
//   classes  y[b] = labels[image[b]]
//
// pixels  [N, C H W] u8, four to a word
// labels  [N] u32
// image   [B] u32: numbers of the images
// x       [B, C, H, W] in [-1, 1]
// y       [B] u32
// images: one invocation per element of x. classes: one invocation per image.
// FLOPs 2 B C H W; bytes 5 B C H W + 12 B.

override IMAGE_SIZE: u32;   // C H W
override LENGTH: u32;       // B C H W
override BATCH: u32;        // B
override WIDTH: u32;        // W
override FLIP: bool;

@group(0) @binding(0) var<storage, read> pixels: array<u32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> image: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(FLAT)
fn images(lane: Lane) {
  let i = flat_index(lane);
  if (i < LENGTH) {
    let b = i / IMAGE_SIZE;
    var at = image[b] * IMAGE_SIZE + i % IMAGE_SIZE;
    if (FLIP) {
      if ((random_words(STREAM_FLIP, step.index, step.first_image + b, 0u).x & 1u) == 1u) {
        let column = i % WIDTH;
        at = at - column + (WIDTH - 1u - column);
      }
    }
    let byte = (pixels[at / 4u] >> (8u * (at % 4u))) & 255u;
    x[i] = f32(byte) / 127.5 - 1.0;
  }
}

@compute @workgroup_size(FLAT)
fn classes(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = labels[image[b]];
  }
}
