// y[b, c, :] = x[b, c, :] + e[b, c]            x, y [B, C, HW]   e [B, C]: an embedding onto a map
// Forward: one invocation does four elements; ROWS = B C is what e is clamped to. FLOPs n; bytes 8 n.
// de[b, c] = the sum of dy[b, c, :]: SPAN lanes share a row, WG / SPAN rows a workgroup, in a fixed order. FLOPs n; bytes 4 n.
// The gradient of x is dy: handed on without a copy where the tape can, else by `backward`.

override HW: u32;
override ALIGNED: bool;   // HW is a multiple of 4
override SPAN: u32;       // lanes a row, a power of two
override ADD: bool;

struct Dims { rows: u32, length: u32 }   // B C; B C HW in vec4s

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> e: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> dims: Dims;

// The embedding of element number i; the last row's for what pads the storage.
fn embedding(i: u32) -> f32 {
  return e[min(i / HW, dims.rows - 1u)];
}

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    if (ALIGNED) {
      y[i] = x[i] + embedding(4u * i);
    } else {
      y[i] = x[i] + vec4<f32>(embedding(4u * i), embedding(4u * i + 1u), embedding(4u * i + 2u), embedding(4u * i + 3u));
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

// Elements of vec4 number i that are not among the HW from `start` on become zero.
fn within(value: vec4<f32>, i: u32, start: u32) -> vec4<f32> {
  if (ALIGNED) {
    return value;
  }
  let from_start = vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u) - start;   // below start: wraps to large numbers
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
    de[row] = select(total, de[row] + total, ADD);
  }
}
