// Timesteps of B images, which are those from FIRST on in a batch of WHOLE.
//
//   random     y[b] = floor(T frac(u + (FIRST + b) / WHOLE)) for one u a batch: each timestep is
//              uniform in 0 .. T - 1 (Ho et al. 2020, algorithm 1, line 3), and a batch has all
//              levels of noise (Kingma et al. 2021, appendix I.1)
//   scheduled  y[b] = list[step.index] for all b
//   weighted   y[b] = the first t with cdf[t] > frac(u + (FIRST + b) / WHOLE) to 24 bits, by
//              bisection. As `random` if cdf[T - 1] is zero: importance_sampling.wgsl has not
//              written cdf yet.
//
// u depends on the number of the batch's first image, step.first_image - FIRST.
//
// list  [S] u32
// cdf   [T]
// y     [B] u32
// One invocation per image. FLOPs 0, weighted B log2(T); bytes 4 B, scheduled 8 B, weighted
// 4 B (2 + log2(T)).

override BATCH: u32;       // B
override FIRST: u32;
override WHOLE: u32;
override TIMESTEPS: u32;   // T

@group(0) @binding(0) var<storage, read> list: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// 2^32 frac(u + (FIRST + b) / WHOLE).
fn stratum(b: u32) -> u32 {
  let u = random_words(STREAM_TIMESTEP, step.index, step.first_image - FIRST, 0u).x;
  return u + (FIRST + b) * (0xffffffffu / WHOLE);
}

@compute @workgroup_size(FLAT)
fn random(lane: Lane) {
  let b = flat_index(lane);
  if (b < BATCH) {
    y[b] = multiply_high(stratum(b), TIMESTEPS);
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
    let word = stratum(b);
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
