// Normal noise.                                                                y [B, n]
// y[b, 4k .. 4k + 3] = normal(Philox(stream, step, image, k)) with image = first_image + b: a sample's noise depends on the seed and its own
// number, not on the batch it is drawn in.
// One invocation four elements of an image. FLOPs about 40 an element; bytes 4 B n.

override STREAM: u32;
override IMAGE_SIZE: u32;   // n
override BATCH: u32;

@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let blocks = (IMAGE_SIZE + 3u) / 4u;
  let i = flat_index(lane);
  let b = i / blocks;
  let block = i % blocks;
  if (b < BATCH) {
    let z = normal(random_words(STREAM, step.index, step.first_image + b, block));
    for (var k = 0u; k < 4u; k++) {
      if (4u * block + k < IMAGE_SIZE) {
        y[b * IMAGE_SIZE + 4u * block + k] = z[k];
      }
    }
  }
}
