// Sums of rows: the last step of gradients of which other kernels computed partial sums.
//
//   sum  result[to + j] (+)= sum_r parts[from + r row + j step], for each of several sums
//
// parts   the rows of all sums
// table   [sums, 2]: (first invocation, size, rows, row), (step, from, to, 1 to add or 0 to store)
// result  the results of all sums
//
// One invocation computes one element and adds its rows in order, so every run gives the same bits.
// The first invocation of a sum is the first one of a workgroup, which therefore has one sum.
// FLOPs and reads: rows of each element.

struct Dims { sums: u32, invocations: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

// The last sum that begins at or before invocation i.
fn sum_of(i: u32) -> u32 {
  var first = 0u;
  var count = dims.sums;
  while (count > 1u) {
    let half = count / 2u;
    let after = table[2u * (first + half)].x <= i;
    first = select(first, first + half, after);
    count = select(half, count - half, after);
  }
  return first;
}

@compute @workgroup_size(FLAT)
fn sum(lane: Lane) {
  let i = flat_index(lane);
  let number = sum_of(min(i, dims.invocations - 1u));
  let a = table[2u * number];
  let b = table[2u * number + 1u];
  let j = i - a.x;
  if (i < dims.invocations && j < a.y) {
    var at = b.y + j * b.x;
    var total = 0.0;
    for (var r = 0u; r < a.z; r++) {
      total += parts[at];
      at += a.w;
    }
    let to = b.z + j;
    if (b.w > 0u) {
      total += result[to];
    }
    result[to] = total;
  }
}
