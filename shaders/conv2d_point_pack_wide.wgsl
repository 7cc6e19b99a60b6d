// Weights of a 1x1 convolution in the order in which conv2d_point_wide.wgsl reads them, where the
// order of PyTorch does not fit.
//
//   pack_weights  packed[m,k] = w[m,k] forward, w[k,m] for the gradient of x; zero for k >= inputs
//
// w       [outputs, inputs] forward, [inputs, outputs] for the gradient of x
// packed  [outputs, width]
//
// One invocation per element of packed. FLOPs 0; bytes 8 per element.

// w[m,k] has the index m output_stride + k input_stride.
struct Dims { outputs: u32, inputs: u32, width: u32, output_stride: u32, input_stride: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

@compute @workgroup_size(FLAT)
fn pack_weights(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.outputs * dims.width) {
    let m = i / dims.width;
    let k = i % dims.width;
    let weight = w[m * dims.output_stride + min(k, dims.inputs - 1u) * dims.input_stride];
    packed[i] = select(0.0, weight, k < dims.inputs);
  }
}
