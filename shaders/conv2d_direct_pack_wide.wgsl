// Weights of a 3x3 convolution in the order in which conv2d_direct_wide.wgsl reads them.
//
//   pack_weights  packed[m,n,l] = the 9 weights of channel k = 16 n + 2 l, those of k + 1, 0 and 0
//                 forward:            w[m,k,tap]
//                 for the gradient:   w[k,m,8-tap], the kernel rotated by 180 degrees
//
// w       [Co, Ci, 3, 3], as in PyTorch
// packed  [outputs, chunks, 8, 20]; zero for channels k that do not exist
//
// One invocation per element of packed. FLOPs 0; bytes 8 per element.

// The weights of outputs m and inputs k begin at m output_stride + k input_stride.
struct Dims { outputs: u32, inputs: u32, chunks: u32, output_stride: u32, input_stride: u32, rotated: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

const ENTRY = 20u;           // numbers of a lane
const LANES = 8u;

@compute @workgroup_size(FLAT)
fn pack_weights(lane: Lane) {
  let i = flat_index(lane);
  let row = dims.chunks * LANES * ENTRY;
  if (i < dims.outputs * row) {
    let at = i % ENTRY;
    let k = 2u * (i % row / ENTRY) + at / 9u;
    let tap = at % 9u;
    let from_tap = select(tap, 8u - tap, dims.rotated > 0u);
    let weight = w[i / row * dims.output_stride + min(k, dims.inputs - 1u) * dims.input_stride + from_tap];
    packed[i] = select(0.0, weight, at < 18u && k < dims.inputs);
  }
}
