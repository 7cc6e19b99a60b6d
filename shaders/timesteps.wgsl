// Time steps.                                                          y u32 [B]
// random: y[b] uniform in 0..T, floor(word T / 2^32), by the step and the image's place in the batch (Ho et al. 2020, algorithm 1, line 3).
// scheduled: y[b] = list[step.index] for all b.                        list u32 [S]
// One invocation an image.

override BATCH: u32;
override TIMESTEPS: u32;

@group(0) @binding(0) var<storage, read> list: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(FLAT)
fn random(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = multiply_high(random_words(FOR_TIMESTEP, step.index, step.first_image + b, 0u).x, TIMESTEPS);
  }
}

@compute @workgroup_size(FLAT)
fn scheduled(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = list[step.index];
  }
}
