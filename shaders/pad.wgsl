// y[p, h, w] = x[p, h, w] where x has this pixel, otherwise 0: zeros are added below and on the
// right, or rows and columns are removed there.
// dx[p, h, w] = dy[p, h, w] where y has this pixel, otherwise 0
//
// x, dx  [B, C, H, W]; p counts the B C planes
// y, dy  [B, C, H', W']
//
// Forward and backward copy between the same planes of two sizes, FROM and TO. One invocation
// writes one element. FLOPs 0, backward with ADD one per common element; bytes 4 per element written
// and 4 per common element.

override FROM_HEIGHT: u32;
override FROM_WIDTH: u32;
override TO_HEIGHT: u32;
override TO_WIDTH: u32;

struct Dims {
  length: u32,   // elements to write
}

@group(0) @binding(2) var<uniform> dims: Dims;

// Whether the pixel of element i is also in the planes that are read.
fn has_source(i: u32) -> bool {
  return i / TO_WIDTH % TO_HEIGHT < FROM_HEIGHT && i % TO_WIDTH < FROM_WIDTH;
}

// The index of this pixel there.
fn source(i: u32) -> u32 {
  let row = i / TO_WIDTH;
  return (row / TO_HEIGHT * FROM_HEIGHT + row % TO_HEIGHT) * FROM_WIDTH + i % TO_WIDTH;
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    var value = 0.0;
    if (has_source(i)) {
      value = x[source(i)];
    }
    y[i] = value;
  }
}

override ADD: bool;

@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    if (has_source(i)) {
      dx[i] = dy[source(i)] + select(0.0, dx[i], ADD);
    } else if (!ADD) {
      dx[i] = 0.0;
    }
  }
}
