// Numbers of the images of a batch.                                         y u32 [B]
//
// forward: y[b] is element `position + b` of the epoch's permutation of COUNT images; past its end, of the next epoch's. The permutation is
// a Feistel network of six Philox rounds over the smallest even number of bits that holds COUNT, walked until it falls below COUNT (Black
// and Rogaway 2002, "Ciphers with arbitrary finite domains"): nothing is stored, and a resumed run goes on in the same order.
// consecutive: y[b] = FIRST + (first_image + b) mod COUNT.
// ring: y[b] = (index mod SLOTS) B + b: the batch of this step, where a ring of SLOTS batches is all of the data set that is here.
// One invocation an image.

override BATCH: u32;
override COUNT: u32;
override FIRST: u32;
override SLOTS: u32;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

const ROUNDS = 6u;

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
