// Weights and bias as the subgroup kernels read them: packed[tile][0] the bias, packed[tile][1 + k taps + tap] the weights, each for the
// `tile` channels m = tile number * tile .. of the result.
//
//   pack_forward    weight(m, k, tap) = w[m, k, tap]               m = channel of y,  k = channel of x;  bias b[m]
//   pack_backward   weight(m, k, tap) = w[k, m, taps - 1 - tap]    m = channel of x,  k = channel of y, kernel turned by 180 degrees;  bias 0
//
// w [Co,Ci,k,k] as in PyTorch; taps = k k. Rows beyond the last channel are zero, so the convolution needs no mask on them.
// One invocation an element of packed. No arithmetic; 8 bytes an element.

struct Dims { outputs: u32, inputs: u32, taps: u32, tile: u32 }   // channels m and k; channels of a tile

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> packed: array<f32>;

struct Position { live: bool, channel: u32, known: bool, is_bias: bool, input: u32, tap: u32 }

fn place(index: u32) -> Position {
  let entries = 1u + dims.inputs * dims.taps;
  let tiles = (dims.outputs + dims.tile - 1u) / dims.tile;
  let entry = index / dims.tile % entries;
  let channel = index / (dims.tile * entries) * dims.tile + index % dims.tile;
  let weight = max(entry, 1u) - 1u;
  return Position(
    (index < tiles * dims.tile * entries), min(channel, dims.outputs - 1u), (channel < dims.outputs), (entry == 0u),
    weight / dims.taps, weight % dims.taps,
  );
}

@compute @workgroup_size(FLAT)
fn pack_forward(lane: Lane) {
  let at = place(flat_index(lane));
  if (at.live) {
    let weight = w[(at.channel * dims.inputs + at.input) * dims.taps + at.tap];
    packed[flat_index(lane)] = select(0.0, select(weight, b[at.channel], at.is_bias), at.known);
  }
}

@compute @workgroup_size(FLAT)
fn pack_backward(lane: Lane) {
  let at = place(flat_index(lane));
  if (at.live) {
    let weight = w[(at.input * dims.outputs + at.channel) * dims.taps + dims.taps - 1u - at.tap];
    packed[flat_index(lane)] = select(0.0, weight, at.known && !at.is_bias);
  }
}
