// Numbers of the images of a batch.
//
//   forward      y[b] is element `position + b` of the epoch's permutation of COUNT images; past
//                its end, of the next epoch's. The permutation is a Feistel network of ROUNDS
//                Philox rounds over the smallest even number of bits that holds COUNT, applied
//                until the result is below COUNT (Black and Rogaway 2002, "Ciphers with arbitrary
//                finite domains"). Nothing is stored, and a resumed run continues in the same
//                order.
//   consecutive  y[b] = FIRST + (first_image + b) mod COUNT
//   ring         y[b] = (index mod SLOTS) B + b: the batch of this step, if the device holds only a
//                ring of SLOTS batches of the data set
//
// y  [B] u32
// One invocation per image. FLOPs 0; bytes 4 B. forward computes ROUNDS Philox words per attempt,
// and needs fewer than four attempts on average.

override BATCH: u32;   // B
override COUNT: u32;   // images to choose from
override FIRST: u32;   // number of the first image
override SLOTS: u32;   // batches in the ring

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

const ROUNDS = 6u;

// Element `start` of an epoch's permutation.
fn permuted(start: u32, epoch: u32) -> u32 {
  let half = max((33u - countLeadingZeros(COUNT - 1u)) / 2u, 1u);
  let mask = (1u << half) - 1u;
  var value = start;
  loop {
    var left = value >> half;
    var right = value & mask;
    for (var round = 0u; round < ROUNDS; round++) {
      let mixed = left ^ (random_words(STREAM_PERMUTATION, epoch, round, right).x & mask);
      left = right;
      right = mixed;
    }
    value = (left << half) | right;
    if (value < COUNT) {
      break;
    }
  }
  return value;
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    let at = step.position + b;
    y[b] = permuted(at % COUNT, step.epoch + at / COUNT);
  }
}

@compute @workgroup_size(FLAT)
fn consecutive(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = FIRST + (step.first_image + b) % COUNT;
  }
}

@compute @workgroup_size(FLAT)
fn ring(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = (step.index % SLOTS) * BATCH + b;
  }
}
