// y[b] = NONE with probability RATE, else label[b]
// The label dropout of classifier-free guidance (Ho and Salimans 2022, algorithm 1). The random
// numbers depend on the step and the number of the image.
//
// label, y  [B] u32
// One invocation per image. FLOPs 0; bytes 8 B.

override BATCH: u32;    // B
override NONE: u32;     // number of the null class
override RATE: f32;

@group(0) @binding(0) var<storage, read> label: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    let u = f32(random_words(STREAM_LABEL, step.index, step.first_image + b, 0u).x >> 8u) * 0x1p-24;
    y[b] = select(label[b], NONE, u < RATE);
  }
}
