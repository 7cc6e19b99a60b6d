// y[b, e] = table[index[b], e]                              index u32 [B]   table [N, E]   y [B, E]
// Rows of a table: embeddings of class labels, and of time steps (whose table is a constant). An index past the end takes the last row.
// One invocation per element. FLOPs 0; bytes 8 B E.
// Gradient of the table: dtable[n, e] = sum of dy[b, e] over the b with index[b] = n, in the order of the batch, so it needs no atomics.
// A workgroup owns a piece of one row, so all its lanes skip the same images. FLOPs B E; loads N B / 64 indices and B E of dy.

override ROWS: u32;
override WIDTH: u32;

struct Dims {
  batch: u32,
}

@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<uniform> dims: Dims;

@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  let image = i / WIDTH;
  if (image < dims.batch) {
    y[i] = table[min(index[image], ROWS - 1u) * WIDTH + i % WIDTH];
  }
}

override ADD: bool;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let pieces = (WIDTH + FLAT - 1u) / FLAT;
  let row = workgroup_index(lane) / pieces;
  let e = workgroup_index(lane) % pieces * FLAT + lane.index;
  if (row < ROWS && e < WIDTH) {
    var sum = 0.0;
    for (var image = 0u; image < dims.batch; image++) {
      if (min(index[image], ROWS - 1u) == row) {
        sum += dy[image * WIDTH + e];
      }
    }
    let to = row * WIDTH + e;
    if (ADD) {
      dtable[to] += sum;
    } else {
      dtable[to] = sum;
    }
  }
}
