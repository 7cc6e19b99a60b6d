// A Langevin step, the corrector of predictor-corrector sampling (Song et al. 2021, "Score-based
// generative modeling through stochastic differential equations", algorithms 4 and 5), with the
// coefficients c0 to c11 in row `step.index` of a table:
//   eps = c2 x + c3 m;  g = c4 eps, the score;  z ~ N(0, 1)
//   delta = c5 (|z| / |g|)^2;  x' = x + delta g + sqrt(2 delta) z;  x' = x if g is zero
// c5 = 2 r^2 in algorithm 4 and 2 alpha r^2 in algorithm 5. The norms are computed for each image.
// (The code of the paper takes their means over the batch, which makes an image depend on its
// batch.) z depends on the seed, the step, the pass through it and the number of the image.
//
// x      [B, n], updated in place
// model  [B, n]: output m of the network
// table  [S, 12]
// One workgroup per image; a lane does every WG-th block of four elements. The second pass computes
// z again instead of storing it. FLOPs about 100 B n; bytes 20 B n.

override IMAGE_SIZE: u32;   // n

struct Dims { batch: u32 }   // B

const COEFFICIENTS = 12u;   // in a row of the table

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> model: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

fn noise(image: u32, block: u32) -> vec4<f32> {
  let stream = STREAM_CORRECTOR | (step.sampler_pass << 8u);
  return normal(random_words(stream, step.index, step.first_image + image, block));
}

fn score(i: u32) -> f32 {
  let row = COEFFICIENTS * step.index;
  return table[row + 4u] * (table[row + 2u] * x[i] + table[row + 3u] * model[i]);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let image = workgroup_index(lane);
  let live = image < dims.batch;
  var squares = vec2<f32>();   // sums of the squares of z and of g
  for (var first = 4u * lane.index; live && first < IMAGE_SIZE; first += 4u * WG) {
    let z = noise(image, first / 4u);
    let count = min(4u, IMAGE_SIZE - first);
    for (var k = 0u; k < count; k++) {
      let pair = vec2<f32>(z[k], score(image * IMAGE_SIZE + first + k));
      squares += pair * pair;
    }
  }
  let total = span_sum(squares, lane, WG);
  if (total.y > 0.0) {
    let delta = table[COEFFICIENTS * step.index + 5u] * total.x / total.y;
    let deviation = sqrt(2.0 * delta);
    for (var first = 4u * lane.index; live && first < IMAGE_SIZE; first += 4u * WG) {
      let z = noise(image, first / 4u);
      let count = min(4u, IMAGE_SIZE - first);
      for (var k = 0u; k < count; k++) {
        let i = image * IMAGE_SIZE + first + k;
        x[i] += delta * score(i) + deviation * z[k];
      }
    }
  }
}
