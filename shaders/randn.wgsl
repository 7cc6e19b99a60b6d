// y[b, 4k to 4k + 3] = normal(Philox(STREAM, step, first_image + b, k))
// Normal noise. The noise of a sample depends on the seed and on the sample's own number, not on
// its batch.
//
// y  [B, n]
// One invocation computes four elements of an image. FLOPs about 40 B n; bytes 4 B n.

override STREAM: u32;       // STREAM_* of the prelude
override IMAGE_SIZE: u32;   // n
override BATCH: u32;        // B

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
