// Weights and bias in the order in which the subgroup kernels read them. packed[tile][0] is the
// bias and packed[tile][1 + k taps + tap] are the weights, each for the `tile` channels of the
// result from (number of the tile) * tile on.
//
//   pack_forward   weight(m, k, tap) = w[m, k, tap]             m = channel of y, k = channel of x;
//                  bias b[m]
//   pack_backward  weight(m, k, tap) = w[k, m, taps - 1 - tap]  m = channel of x, k = channel of y,
//                  the kernel rotated by 180 degrees; bias 0
//
// w       [Co, Ci, kernel, kernel], as in PyTorch; taps = kernel^2
// b       [Co]
// packed  [ceil(outputs / tile), 1 + inputs taps, tile]; entries of channels that do not exist are
//         zero
//
// One invocation per element of packed. FLOPs 0; bytes 8 per element.

// Number of channels m and k, of taps, and of channels in a tile.
struct Dims { outputs: u32, inputs: u32, taps: u32, tile: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> packed: array<f32>;

// The content of an element of packed. `live`: the element exists. `known`: its channel exists.
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
