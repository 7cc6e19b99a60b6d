// z = mean + exp(log_variance / 2) eps,  eps ~ N(0, 1)
// dmean = dy. The tape passes dy on without a copy where it can; otherwise `backward_mean` copies
// or adds it.
// dlog_variance = dy exp(log_variance / 2) eps / 2
// A sample of a latent that lets gradients pass (Kingma and Welling 2014, section 2.4). eps comes
// from Philox(STREAM_LATENT, step, first_image + b, block of four elements); the backward pass
// computes it again instead of storing it.
//
// mean, log_variance, z, dy  [B, n]
// dx                         [B, n]: dlog_variance
// dmean                      [B, n]
// forward, backward_log_variance: one invocation computes four elements of an image. backward_mean:
// one invocation per element. FLOPs about 60 B n each; bytes 12 B n each.

override IMAGE_SIZE: u32;   // n
override ADD: bool;

struct Dims { batch: u32 }   // B

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
