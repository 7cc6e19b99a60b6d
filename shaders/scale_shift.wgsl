// y[b, c, :] = x[b, c, :] * (1 + e[b, f + c]) + e[b, f + C + c] (FiLM, Perez et al. 2018)
// dx = dy (1 + e[b, f + c])
// de[b, f + c] = sum of dy x over the row;  de[b, f + C + c] = sum of dy
//
// x, y, dy, dx  [B, C, HW], n elements
// e, de         [B, E]: from column f on C scales, then C shifts
// forward, backward: one invocation computes four elements. FLOPs 3 n and 2 n; bytes 8 n each.
// backward_embedding: SPAN lanes share a row of HW elements, and a workgroup sums WG / SPAN rows,
// in a fixed order. FLOPs 3 n; bytes 8 n.

override C: u32;
override HW: u32;
override ALIGNED: bool;   // HW is a multiple of 4
override SPAN: u32;       // lanes per row, a power of two
override ADD: bool;

// rows: B C; length: B C HW in vec4s; width: E; first: f
struct Dims { rows: u32, length: u32, width: u32, first: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> e: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

// Index in e of the scale of row b C + c. The shift is C further on.
fn place(row: u32) -> u32 {
  return row / C * dims.width + dims.first + row % C;
}

// The row of element i. The padding of the storage uses the last row.
fn row_of(i: u32) -> u32 {
  return min(i / HW, dims.rows - 1u);
}

// Scales of the four elements of vec4 i if `further` is 0, their shifts if it is C.
fn embedding(i: u32, further: u32) -> vec4<f32> {
  if (ALIGNED) {
    return vec4<f32>(e[place(row_of(4u * i)) + further]);
  }
  return vec4<f32>(
    e[place(row_of(4u * i)) + further], e[place(row_of(4u * i + 1u)) + further],
    e[place(row_of(4u * i + 2u)) + further], e[place(row_of(4u * i + 3u)) + further],
  );
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    y[i] = x[i] * (1.0 + embedding(i, 0u)) + embedding(i, C);
  }
}

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> de: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let value = dy[i] * (1.0 + embedding(i, 0u));
    dx[i] = select(value, dx[i] + value, ADD);
  }
}

// `value` of vec4 i with zeros for the elements outside of the row that begins at `start`.
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
  var scales = vec4<f32>();
  var shifts = vec4<f32>();
  for (var i = start / 4u + lane.index % SPAN; row < dims.rows && 4u * i < start + HW; i += SPAN) {
    scales += within(dy[i] * x[i], i, start);
    shifts += within(dy[i], i, start);
  }
  let one = vec4<f32>(1.0);
  let total = span_sum(vec2<f32>(dot(scales, one), dot(shifts, one)), lane, SPAN);
  if (row < dims.rows && lane.index % SPAN == 0u) {
    let at = place(row);
    de[at] = select(total.x, de[at] + total.x, ADD);
    de[at + C] = select(total.y, de[at + C] + total.y, ADD);
  }
}
