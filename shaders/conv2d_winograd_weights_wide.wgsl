// The transformed weights of the convolution by Winograd's algorithm (see
// conv2d_winograd_input_wide.wgsl), in the order in which the product reads them, and the bias.
//
//   transform_forward   u[p,m,k] = (G g G^T)[p] of the kernel g = w[m, k]         m = channel of y,
//                       k = channel of x; bias b[m]
//   transform_backward  u[p,m,k] = (G g G^T)[p] of g = w[k, m] rotated by 180     m = channel of x,
//                       degrees; bias 0                                           k = channel of y
//
// w  [Co, Ci, 3, 3], as in PyTorch
// b  [Co]
// u  [36, chunks, rows, chunk] with chunks = ceil(inputs / chunk), then the bias, [rows, rounded up
//    to a multiple of 8]; entries of channels that do not exist are zero
//
// One invocation per 8 entries of u: it transforms 8 kernels, or copies 8 numbers of the bias.
// FLOPs 117 per kernel; 36 bytes read and 144 written per kernel.

// Number of channels m and k. rows: outputs, rounded up. chunk: a multiple of 8.
struct Dims { outputs: u32, inputs: u32, rows: u32, chunk: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> u: array<vec4<u64>>;

alias Kernel = array<f32, 9>;
alias Patch = array<f32, 36>;
alias Patches = array<Patch, 8>;
alias Six = array<f32, 6>;

// G g.
fn evaluate(a: f32, b: f32, c: f32) -> Six {
  // 1 / (2 p^2 (p^2 - q^2)) for p = 3/4 and q = 3/2, and the same with p and q exchanged.
  let even_1 = -0.5267489711934156 * a - 0.2962962962962963 * c;
  let odd_1 = -0.3950617283950617 * b;
  let even_2 = 0.13168724279835392 * a + 0.2962962962962963 * c;
  let odd_2 = 0.19753086419753085 * b;
  return Six(
    0.7901234567901234 * a, even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, c,
  );
}

fn transform(g: Kernel) -> Patch {
  let a = evaluate(g[0], g[3], g[6]);
  let b = evaluate(g[1], g[4], g[7]);
  let c = evaluate(g[2], g[5], g[8]);
  var window: Patch;
  for (var r = 0u; r < 6u; r++) {
    let q = evaluate(a[r], b[r], c[r]);
    window[6u * r] = q[0];
    window[6u * r + 1u] = q[1];
    window[6u * r + 2u] = q[2];
    window[6u * r + 3u] = q[3];
    window[6u * r + 4u] = q[4];
    window[6u * r + 5u] = q[5];
  }
  return window;
}

// The kernel from an index on, or zeros.
fn kernel(at: u32, backward: bool, live: bool) -> Patch {
  var g: Kernel;
  for (var i = 0u; i < 9u; i++) {
    g[i] = select(0.0, w[select(at + i, at + 8u - i, backward)], live);
  }
  return transform(g);
}

// Stores row r of the patches.
fn store(patches: ptr<function, Patches>, to: u32, r: u32) {
  for (var p = 6u * r; p < 6u * r + 6u; p++) {
    u[to + p * stride()] = interleave(
      vec4<f32>((*patches)[0][p], (*patches)[2][p], (*patches)[4][p], (*patches)[6][p]),
      vec4<f32>((*patches)[1][p], (*patches)[3][p], (*patches)[5][p], (*patches)[7][p]),
    );
  }
}

// Elements of u for one p.
fn stride() -> u32 {
  return (dims.inputs + dims.chunk - 1u) / dims.chunk * dims.rows * (dims.chunk / 8u);
}

// Transforms the kernels of one m, and of k to k + 7.
fn kernels(index: u32, backward: bool) {
  let parts = dims.chunk / 8u;
  let m = index / parts % dims.rows;
  let k = (index / parts / dims.rows * parts + index % parts) * 8u;
  let step = select(9u, 9u * dims.outputs, backward);   // from k to k + 1
  let first = min(m, dims.outputs - 1u) * select(9u * dims.inputs, 9u, backward);
  let last = dims.inputs - 1u;
  let live = m < dims.outputs;
  var patches: Patches;
  patches[0] = kernel(first + min(k, last) * step, backward, live && k <= last);
  patches[1] = kernel(first + min(k + 1u, last) * step, backward, live && k + 1u <= last);
  patches[2] = kernel(first + min(k + 2u, last) * step, backward, live && k + 2u <= last);
  patches[3] = kernel(first + min(k + 3u, last) * step, backward, live && k + 3u <= last);
  patches[4] = kernel(first + min(k + 4u, last) * step, backward, live && k + 4u <= last);
  patches[5] = kernel(first + min(k + 5u, last) * step, backward, live && k + 5u <= last);
  patches[6] = kernel(first + min(k + 6u, last) * step, backward, live && k + 6u <= last);
  patches[7] = kernel(first + min(k + 7u, last) * step, backward, live && k + 7u <= last);
  store(&patches, index, 0u);
  store(&patches, index, 1u);
  store(&patches, index, 2u);
  store(&patches, index, 3u);
  store(&patches, index, 4u);
  store(&patches, index, 5u);
}

fn bias(m: u32) -> f32 {
  return select(0.0, b[min(m, dims.outputs - 1u)], m < dims.outputs);
}

@compute @workgroup_size(FLAT)
fn transform_forward(lane: Lane) {
  let index = flat_index(lane);
  if (index < stride()) {
    kernels(index, false);
  } else if (index < stride() + (dims.rows + 7u) / 8u) {
    let m = (index - stride()) * 8u;
    u[35u * stride() + index] = interleave(
      vec4<f32>(bias(m), bias(m + 2u), bias(m + 4u), bias(m + 6u)),
      vec4<f32>(bias(m + 1u), bias(m + 3u), bias(m + 5u), bias(m + 7u)),
    );
  }
}

@compute @workgroup_size(FLAT)
fn transform_backward(lane: Lane) {
  let index = flat_index(lane);
  if (index < stride()) {
    kernels(index, true);
  } else if (index < stride() + (dims.rows + 7u) / 8u) {
    u[35u * stride() + index] = vec4<u64>();
  }
}
