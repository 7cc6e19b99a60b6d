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

// A vector holds numbers of four kernels. All arithmetic is on such vectors, and on values, not on
// arrays in variables: with an array of numbers for each kernel the driver needs 15 times as long
// to create the pipeline. So some loops are written out.
alias Six = array<vec4<f32>, 6>;

// G g.
fn evaluate(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) -> Six {
  // 1 / (2 p^2 (p^2 - q^2)) for p = 3/4 and q = 3/2, and the same with p and q exchanged.
  let even_1 = -0.5267489711934156 * a - 0.2962962962962963 * c;
  let odd_1 = -0.3950617283950617 * b;
  let even_2 = 0.13168724279835392 * a + 0.2962962962962963 * c;
  let odd_2 = 0.19753086419753085 * b;
  return Six(
    0.7901234567901234 * a, even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, c,
  );
}

// Four kernels: their first elements in w, and whether they exist.
struct Kernels { at: vec4<u32>, live: vec4<bool>, backward: bool }

// Number i of the kernels, or zeros.
fn tap(kernels: Kernels, i: u32) -> vec4<f32> {
  let at = kernels.at + select(i, 8u - i, kernels.backward);
  return select(vec4<f32>(), vec4<f32>(w[at.x], w[at.y], w[at.z], w[at.w]), kernels.live);
}

// Column c of G g.
fn column(kernels: Kernels, c: u32) -> Six {
  return evaluate(tap(kernels, c), tap(kernels, c + 3u), tap(kernels, c + 6u));
}

// Stores row r of G g G^T of the even and the odd kernels. a, b, c and d, e, f: that row of G g.
// `to`: index of the element for r = 0.
fn store(to: u32, r: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>) {
  let p = evaluate(a, b, c);
  let q = evaluate(d, e, f);
  let step = stride();
  let first = to + 6u * r * step;
  u[first] = interleave(p[0], q[0]);
  u[first + step] = interleave(p[1], q[1]);
  u[first + 2u * step] = interleave(p[2], q[2]);
  u[first + 3u * step] = interleave(p[3], q[3]);
  u[first + 4u * step] = interleave(p[4], q[4]);
  u[first + 5u * step] = interleave(p[5], q[5]);
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
  let last = vec4<u32>(dims.inputs - 1u);
  let live = vec4<bool>(m < dims.outputs);
  let k_even = vec4<u32>(k) + vec4<u32>(0u, 2u, 4u, 6u);
  let k_odd = k_even + 1u;
  let even = Kernels(first + min(k_even, last) * step, live & (k_even <= last), backward);
  let odd = Kernels(first + min(k_odd, last) * step, live & (k_odd <= last), backward);
  let a = column(even, 0u);
  let b = column(even, 1u);
  let c = column(even, 2u);
  let d = column(odd, 0u);
  let e = column(odd, 1u);
  let f = column(odd, 2u);
  store(index, 0u, a[0], b[0], c[0], d[0], e[0], f[0]);
  store(index, 1u, a[1], b[1], c[1], d[1], e[1], f[1]);
  store(index, 2u, a[2], b[2], c[2], d[2], e[2], f[2]);
  store(index, 3u, a[3], b[3], c[3], d[3], e[3], f[3]);
  store(index, 4u, a[4], b[4], c[4], d[4], e[4], f[4]);
  store(index, 5u, a[5], b[5], c[5], d[5], e[5], f[5]);
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
