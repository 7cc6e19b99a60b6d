// z = mean + exp(log_variance / 2) n,  n ~ N(0, 1)                                     mean, log_variance, z [B, n]
// A sample of a latent that gradients flow through (Kingma and Welling 2014, section 2.4).
// n by Philox of (STREAM_LATENT, step, image, block of four elements), drawn again in backward instead of stored.
// dmean = dy, handed on without a copy where the tape can, else by `backward_mean`;  dlog_variance = dy exp(log_variance / 2) n / 2
// One invocation four elements of an image (backward_mean: one). FLOPs about 60 an element; bytes 12 B n each.

override IMAGE_SIZE: u32;   // n
override ADD: bool;

struct Dims { batch: u32 }

@group(0) @binding(0) var<storage, read> mean: array<f32>;
@group(0) @binding(1) var<storage, read> log_variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let blocks = (IMAGE_SIZE + 3u) / 4u;
  let b = flat_index(lane) / blocks;
  let block = flat_index(lane) % blocks;
  if (b < dims.batch) {
    let n = normal(random_words(STREAM_LATENT, step.index, step.first_image + b, block));
    for (var k = 0u; k < 4u; k++) {
      if (4u * block + k < IMAGE_SIZE) {
        let i = b * IMAGE_SIZE + 4u * block + k;
        z[i] = mean[i] + exp(0.5 * log_variance[i]) * n[k];
      }
    }
  }
}

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_log_variance(lane: Lane) {
  let blocks = (IMAGE_SIZE + 3u) / 4u;
  let b = flat_index(lane) / blocks;
  let block = flat_index(lane) % blocks;
  if (b < dims.batch) {
    let n = normal(random_words(STREAM_LATENT, step.index, step.first_image + b, block));
    for (var k = 0u; k < 4u; k++) {
      if (4u * block + k < IMAGE_SIZE) {
        let i = b * IMAGE_SIZE + 4u * block + k;
        let slope = dy[i] * 0.5 * exp(0.5 * log_variance[i]) * n[k];
        dx[i] = select(slope, dx[i] + slope, ADD);
      }
    }
  }
}

@group(0) @binding(1) var<storage, read_write> dmean: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_mean(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.batch * IMAGE_SIZE) {
    dmean[i] = select(dy[i], dmean[i] + dy[i], ADD);
  }
}
