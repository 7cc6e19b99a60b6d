// The random generator: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1,
// 2, 3"), keyed by the seed.
//
// The generator has no state. Its counter is made from the purpose of a number, the step, the image
// and the position in the image. So a sample depends on its own number and not on its batch, a
// resumed run continues bit for bit, and a mask is computed again instead of stored.
//
// Normal numbers use the method of Box and Muller (1958). log, sin and cos are polynomials of + and
// * (the single-precision ones of Cephes), because the builtin functions differ between drivers and
// sin and cos are only specified near [-pi, pi].

// Random streams: the purpose of a number, and the first word of the counter. "Host" marks the
// streams that only the host uses.
const STREAM_TIMESTEP = 0u;    // timesteps of a batch
const STREAM_NOISE = 1u;       // noise of a training image
const STREAM_LABEL = 2u;       // label dropout
const STREAM_SAMPLE = 3u;      // initial noise of a sample
const STREAM_SAMPLER = 4u;     // noise that a sampler adds at each step; the upper 24 bits: the pass
const STREAM_PERMUTATION = 5u; // order of the data set in an epoch
const STREAM_PARAMETER = 6u;   // initial parameters (host)
const STREAM_PICTURE = 7u;     // noise of sample grids and, with a pass, of inpainting (host)
const STREAM_DROPOUT = 8u;     // the upper 24 bits hold the layer's number
const STREAM_FLIP = 9u;        // whether an image is mirrored
const STREAM_LATENT = 10u;     // noise of a reparameterized latent
const STREAM_CORRECTOR = 11u;  // noise of a Langevin corrector; the upper 24 bits: the pass
const STREAM_SUBSET = 12u;     // choice of the images of a subset (host)
const STREAM_DEQUANTIZATION = 13u;  // position of a pixel in its bin (host)
const STREAM_PROBE = 14u;      // signs for the estimate of a divergence (host)
const STREAM_PRIOR = 15u;      // latents of an autoencoder's samples (host)
const STREAM_MIXTURE = 16u;    // first centers of a mixture of Gaussians (host)

// Upper 32 bits of the product a b.
fn multiply_high(a: u32, b: u32) -> u32 {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let middle = a1 * b0 + ((a0 * b0) >> 16u);
  let low = a0 * b1 + (middle & 0xffffu);
  return a1 * b1 + (middle >> 16u) + (low >> 16u);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    c = vec4<u32>(
      multiply_high(0xCD9E8D57u, c.z) ^ c.y ^ key.x, 0xCD9E8D57u * c.z,
      multiply_high(0xD2511F53u, c.x) ^ c.w ^ key.y, 0xD2511F53u * c.x,
    );
    key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}

// Four random words for (stream, step or zero, image, block of four elements) and the run's seed.
fn random_words(stream: u32, at: u32, image: u32, block: u32) -> vec4<u32> {
  return philox(vec4<u32>(stream, at, image, block), vec2<u32>(step.seed_low, step.seed_high));
}

// ln(u) for u = (bits / 2^8 + 1) / 2^24 in (0, 1]: never zero.
fn log_uniform(bits: u32) -> f32 {
  let u = (f32(bits >> 8u) + 1.0) * 0x1p-24;
  let raw = bitcast<u32>(u) - 0x3f3504f3u;   // relative to sqrt(1 / 2)
  let exponent = f32(i32(raw) >> 23u);
  let f = bitcast<f32>((raw & 0x7fffffu) + 0x3f3504f3u) - 1.0;
  let z = f * f;
  var p = 7.0376836292e-2;
  p = p * f - 1.1514610310e-1;
  p = p * f + 1.1676998740e-1;
  p = p * f - 1.2420140846e-1;
  p = p * f + 1.4249322787e-1;
  p = p * f - 1.6668057665e-1;
  p = p * f + 2.0000714765e-1;
  p = p * f - 2.4999993993e-1;
  p = p * f + 3.3333331174e-1;
  return (f + (p * f * z - 0.5 * z - exponent * 2.12194440e-4)) + exponent * 0.693359375;
}

// (cos, sin) of the angle 2 pi bits / 2^32. Integer arithmetic finds the quadrant, so that the rest
// of the angle is in [-pi/4, pi/4].
fn unit_circle(bits: u32) -> vec2<f32> {
  let quadrant = (bits + 0x20000000u) >> 30u;
  let a = f32(i32(bits - (quadrant << 30u))) * 1.4629180792671596e-9;   // (pi / 2) / 2^30
  let z = a * a;
  let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * a + a;
  let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
  let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quadrant & 1u) == 1u);
  return select(turned, -turned, (quadrant & 2u) == 2u);
}

// Four independent normal numbers from four random words.
fn normal(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(
    sqrt(-2.0 * log_uniform(words.x)) * unit_circle(words.y),
    sqrt(-2.0 * log_uniform(words.z)) * unit_circle(words.w),
  );
}
