// One denoising step of every sampler that is linear in x, model output and noise, its coefficients in row `step.index` of a table:
//   m  = model, or u + guidance (c - u) of the halves u, c of a doubled batch (Ho and Salimans 2022, eq. 6)
//   x0 = clip(c0 x + c1 m, -CLIP, CLIP);  e = c2 x + c3 m
//   x  = c4 x0 + c5 x + c6 e + c7 z,  z ~ N(0, 1) by seed, step and the image's number
// x [B, n] updated in place; model [B, n] or [2B, n]; table [S, 8]
// One invocation four elements of an image. FLOPs about 60 an element; bytes 12 to 16 B n.

override IMAGE_SIZE: u32;   // n
override GUIDED: bool;
override CLIP: f32;

struct Dims { batch: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> model: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<f32>;
@group(0) @binding(3) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let blocks = (IMAGE_SIZE + 3u) / 4u;
  let flat = flat_index(lane);
  let b = flat / blocks;
  let block = flat % blocks;
  if (b >= dims.batch) {
    return;
  }
  let row = 8u * step.index;
  let z = normal(random_words(FOR_SAMPLER, step.index, step.first_image + b, block));
  for (var k = 0u; k < 4u; k++) {
    if (4u * block + k < IMAGE_SIZE) {
      let i = b * IMAGE_SIZE + 4u * block + k;
      var m = model[i];
      if (GUIDED) {
        m += step.guidance * (model[i + dims.batch * IMAGE_SIZE] - m);
      }
      let x0 = clamp(table[row] * x[i] + table[row + 1u] * m, -CLIP, CLIP);
      let e = table[row + 2u] * x[i] + table[row + 3u] * m;
      x[i] = table[row + 4u] * x0 + table[row + 5u] * x[i] + table[row + 6u] * e + table[row + 7u] * z[k];
    }
  }
}
