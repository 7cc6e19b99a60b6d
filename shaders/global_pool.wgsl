// y[b, c] = mean of x[b, c, :, :]
// dx[b, c, h, w] = dy[b, c] / (H W)
//
// x, dx  [B, C, H, W], n elements
// y, dy  [B, C]
// forward: a row is one channel of one image. SPAN lanes share a row, and a workgroup does WG /
// SPAN rows. If H W is not a multiple of 4, the first and the last vec4 of a row contain elements
// of other rows, which are masked. backward: one invocation computes four elements.
// FLOPs n each; bytes 4 n each.

override HW: u32;
override SPAN: u32;   // lanes per row, a power of two

struct Dims {
  rows: u32,          // B C
  length: u32,        // B C H W in vec4s
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Numbers of the elements of vec4 i.
fn elements(i: u32) -> vec4<u32> {
  return vec4<u32>(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let row = workgroup_index(lane) * (WG / SPAN) + lane.index / SPAN;
  let start = row * HW;
  var sum = vec4<f32>();
  for (var i = start / 4u + lane.index % SPAN; row < dims.rows && 4u * i < start + HW; i += SPAN) {
    // Before the start the difference wraps to a large number.
    sum += select(vec4<f32>(), x[i], elements(i) - start < vec4<u32>(HW));
  }
  let total = span_sum(sum.xy + sum.zw, lane, SPAN);
  if (row < dims.rows && lane.index % SPAN == 0u) {
    y[row] = (total.x + total.y) / f32(HW);
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let row = min(elements(i) / HW, vec4<u32>(dims.rows - 1u));   // the padding takes the last row
    let gradient = vec4<f32>(dy[row.x], dy[row.y], dy[row.z], dy[row.w]) / f32(HW);
    if (ADD) {
      dx[i] += gradient;
    } else {
      dx[i] = gradient;
    }
  }
}
