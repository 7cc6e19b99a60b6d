// y[b, c, :] = x[b, c, :] + e[b, first + c]: adds columns of an embedding to a feature map.
// de[b, first + c] = sum of dy[b, c, :]
// dx = dy. The tape passes dy on without a copy where it can; otherwise `backward` copies or adds
// it.
//
// x, y, dy, dx  [B, C, HW], n elements
// e, de         [B, E]
// forward, backward: one invocation computes four elements. FLOPs n; bytes 8 n.
// backward_embedding: SPAN lanes share a row of HW elements, and a workgroup sums WG / SPAN rows,
// in a fixed order. FLOPs n; bytes 4 n.

override HW: u32;
override ALIGNED: bool;   // HW is a multiple of 4
override SPAN: u32;       // lanes per row, a power of two
override ADD: bool;

// rows: B C; length: B C HW in vec4s; channels: C; width: E; first: column of channel 0 in e
struct Dims { rows: u32, length: u32, channels: u32, width: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> e: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

// Index in e of the number for row b C + c of x.
fn place(row: u32) -> u32 {
  return row / dims.channels * dims.width + dims.first + row % dims.channels;
}

// The embedding of element i. The padding of the storage uses the last row.
fn embedding(i: u32) -> f32 {
  return e[place(min(i / HW, dims.rows - 1u))];
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    if (ALIGNED) {
      y[i] = x[i] + embedding(4u * i);
    } else {
      y[i] = x[i]
        + vec4<f32>(embedding(4u * i), embedding(4u * i + 1u), embedding(4u * i + 2u), embedding(4u * i + 3u));
    }
  }
}

@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> de: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    dx[i] = select(dy[i], dx[i] + dy[i], ADD);
  }
}

// Vec4 i with zeros for the elements outside of the row that begins at `start`.
fn within(value: vec4<f32>, i: u32, start: u32) -> vec4<f32> {
  if (ALIGNED) {
    return value;
  }
  // Before the start the difference wraps to a large number.
  let from_start = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) - start;
  return select(vec4<f32>(), value, from_start < vec4<u32>(HW));
}

@compute @workgroup_size(WG)
fn backward_embedding(lane: Lane) {
  let row = workgroup_index(lane) * (WG / SPAN) + lane.index / SPAN;
  let start = row * HW;
  var sum = vec4<f32>();
  for (var i = start / 4u + lane.index % SPAN; row < dims.rows && 4u * i < start + HW; i += SPAN) {
    sum += within(dy[i], i, start);
  }
  let total = span_sum(vec2<f32>(dot(sum, vec4<f32>(1.0)), 0.0), lane, SPAN).x;
  if (row < dims.rows && lane.index % SPAN == 0u) {
    let at = place(row);
    de[at] = select(total, de[at] + total, ADD);
  }
}
