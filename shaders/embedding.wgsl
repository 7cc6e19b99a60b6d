// y[b, e] = table[index[b], e]
// dtable[i, e] = sum of dy[b, e] over the b with index[b] = i
// Embeddings of class labels and of timesteps (the table of the latter is constant). An index past
// the end takes the last row.
//
// index          [B] u32
// table, dtable  [N, E]
// y, dy          [B, E]
// forward: one invocation per element. FLOPs 0; bytes 8 B E.
// backward: a workgroup owns FLAT elements of one row, so all its lanes skip the same images. The
// sum is in the order of the batch and needs no atomics. FLOPs B E; bytes 4 B E for dy, 4 N E for
// dtable, and 4 B for the indices in each of the N ceil(E / FLAT) workgroups.

override ROWS: u32;    // N
override WIDTH: u32;   // E

struct Dims {
  batch: u32,   // B
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
