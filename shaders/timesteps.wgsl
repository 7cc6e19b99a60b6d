// Time steps.                                                          y u32 [B]
// random: y[b] uniform in 0..T, floor(word T / 2^32), by the step and the image's place in the batch (Ho et al. 2020, algorithm 1, line 3).
// scheduled: y[b] = list[step.index] for all b.                        list u32 [S]
// weighted: y[b] = the first t with cdf[t] > u, by bisection; u = (24 bits of the word of `random`) / 2^24.      cdf [T]
//           Uniform as `random` where cdf[T - 1] is zero: in memory of zeros, before importance.wgsl has written it.
// One invocation an image.

override BATCH: u32;
override TIMESTEPS: u32;

@group(0) @binding(0) var<storage, read> list: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(FLAT)
fn random(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = multiply_high(random_words(STREAM_TIMESTEP, step.index, step.first_image + b, 0u).x, TIMESTEPS);
  }
}

@compute @workgroup_size(FLAT)
fn scheduled(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = list[step.index];
  }
}

@group(0) @binding(0) var<storage, read> cdf: array<f32>;

@compute @workgroup_size(FLAT)
fn weighted(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    let word = random_words(STREAM_TIMESTEP, step.index, step.first_image + b, 0u).x;
    let u = f32(word >> 8u) * 0x1p-24;
    var low = 0u;
    var high = TIMESTEPS - 1u;
    while (low < high) {
      let middle = (low + high) / 2u;
      if (cdf[middle] > u) {
        high = middle;
      } else {
        low = middle + 1u;
      }
    }
    y[b] = select(low, multiply_high(word, TIMESTEPS), cdf[TIMESTEPS - 1u] == 0.0);
  }
}
