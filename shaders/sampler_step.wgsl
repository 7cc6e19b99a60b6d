// One step of every sampler that is linear in x, the network's output m, noise, and a history h of
// the previous steps, with the coefficients c0 to c11 in row `step.index` of a table:
//   x0 = clip(c0 x + c1 m, -CLIP, CLIP);  eps = c2 x + c3 m;  z ~ N(0, 1)
//   forward           x' = c4 x0 + c5 x + c6 eps + c7 z
//   forward_history   x' = the same + c8 h;  h' = c9 x0 + c10 x + c11 eps, from the old x and h
//   forward_variance  x' as in forward, but a c7 that is not zero means exp(l / 2) with
//                     l = f c10 + (1 - f) c11, f = (v + 1) / 2. The network's v interpolates
//                     between the largest and the smallest log variance, c10 and c11 (Nichol and
//                     Dhariwal 2021, eq. 15).
// z depends on the seed, the step, the pass through it and the number of the image.
//
// x         [B, n], updated in place
// model     [B, n]: m
// table     [S, 12]
// history   [B, n]: h, updated in place
// variance  [B, n]: v
// One invocation updates four elements of an image. FLOPs about 60 B n, 70 B n with history or
// variance; bytes 12 B n, with history 20 B n, with variance 16 B n.

override IMAGE_SIZE: u32;   // n
override CLIP: f32;

const COEFFICIENTS = 12u;   // in a row of the table

struct Dims { batch: u32 }   // B

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> model: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

// The part of an invocation: `count` elements from `first` on, and their noise z.
struct Block { first: u32, count: u32, z: vec4<f32> }

fn block_of(lane: Lane) -> Block {
  let blocks = (IMAGE_SIZE + 3u) / 4u;
  let image = flat_index(lane) / blocks;
  let block = flat_index(lane) % blocks;
  let stream = STREAM_SAMPLER | (step.sampler_pass << 8u);
  let z = normal(random_words(stream, step.index, step.first_image + image, block));
  let count = select(0u, min(4u, IMAGE_SIZE - 4u * block), image < dims.batch);
  return Block(image * IMAGE_SIZE + 4u * block, count, z);
}

// Coefficient k of this step.
fn c(k: u32) -> f32 {
  return table[COEFFICIENTS * step.index + k];
}

// (x0, x, eps) of element i.
fn terms(i: u32) -> vec3<f32> {
  let x0 = clamp(c(0u) * x[i] + c(1u) * model[i], -CLIP, CLIP);
  return vec3<f32>(x0, x[i], c(2u) * x[i] + c(3u) * model[i]);
}

// x' without noise and history.
fn mean(t: vec3<f32>) -> f32 {
  return c(4u) * t.x + c(5u) * t.y + c(6u) * t.z;
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let own = block_of(lane);
  for (var k = 0u; k < own.count; k++) {
    let i = own.first + k;
    x[i] = mean(terms(i)) + c(7u) * own.z[k];
  }
}

@group(0) @binding(4) var<storage, read_write> history: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_history(lane: Lane) {
  let own = block_of(lane);
  for (var k = 0u; k < own.count; k++) {
    let i = own.first + k;
    let t = terms(i);
    var next = mean(t) + c(7u) * own.z[k];
    // h is uninitialized on the first step and may be NaN.
    if (c(8u) != 0.0) {
      next += c(8u) * history[i];
    }
    x[i] = next;
    history[i] = c(9u) * t.x + c(10u) * t.y + c(11u) * t.z;
  }
}

@group(0) @binding(4) var<storage, read> variance: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_variance(lane: Lane) {
  let own = block_of(lane);
  for (var k = 0u; k < own.count; k++) {
    let i = own.first + k;
    let f = 0.5 * (variance[i] + 1.0);
    let deviation = exp(0.5 * (f * c(10u) + (1.0 - f) * c(11u)));
    x[i] = mean(terms(i)) + select(0.0, deviation, c(7u) != 0.0) * own.z[k];
  }
}
