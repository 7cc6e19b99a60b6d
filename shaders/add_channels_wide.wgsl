// The gradient of e: add_channels.wgsl with elements of 64 bits. An element has 8 numbers, and a
// row is a multiple of 8 numbers: one channel if HW is a multiple of 8, and two channels if HW is
// an odd multiple of 4 and C is even.
//
// dy  [B, C, HW], n numbers
// de  [B, E]
// SPAN lanes share a row, and a workgroup sums WG / SPAN rows, in a fixed order. FLOPs n; bytes
// 4 n.

override HW: u32;
override SPAN: u32;   // lanes per row, a power of two
override ADD: bool;

// channels: C; width: E; first: column of channel 0 in de
struct Dims { rows: u32, channels: u32, width: u32, first: u32 }

@group(0) @binding(0) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(1) var<storage, read_write> de: array<f32>;
@group(0) @binding(7) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn backward_embedding(lane: Lane) {
  let channels = select(2u, 1u, HW % 8u == 0u);   // of a row
  let cells = channels * HW / 8u;
  let row = workgroup_index(lane) * (WG / SPAN) + lane.index / SPAN;
  let rows = dims.rows;
  var sum = vec2<f32>();
  for (var i = lane.index % SPAN; row < rows && i < cells; i += SPAN) {
    let v = dy[row * cells + i];
    let pairs = even(v) + odd(v);
    let low = pairs.x + pairs.y;
    let high = pairs.z + pairs.w;
    if (channels == 1u) {
      sum.x += low + high;
    } else {
      // HW / 4 half elements are of the first channel.
      sum += vec2<f32>(
        select(0.0, low, 2u * i < HW / 4u) + select(0.0, high, 2u * i + 1u < HW / 4u),
        select(low, 0.0, 2u * i < HW / 4u) + select(high, 0.0, 2u * i + 1u < HW / 4u),
      );
    }
  }
  let total = span_sum(sum, lane, SPAN);
  if (row < rows && lane.index % SPAN == 0u) {
    let channel = row * channels;
    let to = channel / dims.channels * dims.width + dims.first + channel % dims.channels;
    de[to] = select(total.x, de[to] + total.x, ADD);
    if (channels == 2u) {
      de[to + 1u] = select(total.y, de[to + 1u] + total.y, ADD);
    }
  }
}
