// Second step of the gradients of a convolution's weights and bias. Every first step uses it.
//
//   sum  dw (+)= sum_split partial_w;  db (+)= sum_split partial_b
//
// partial_w, dw  [splits, size_w], [size_w]
// partial_b, db  [splits, size_b], [size_b]
// One invocation per element of dw, then one per element of db. It adds the splits in order, so
// every run gives the same bits. FLOPs splits (size_w + size_b); bytes 4 (splits + 1) (size_w +
// size_b).

struct Dims { splits: u32, size_w: u32, size_b: u32 }

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> partial_w: array<f32>;
@group(0) @binding(2) var<storage, read> partial_b: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(FLAT)
fn sum(lane: Lane) {
  let i = flat_index(lane);
  var total = 0.0;
  if (i < dims.size_w) {
    for (var split = 0u; split < dims.splits; split++) {
      total += partial_w[split * dims.size_w + i];
    }
    if (ADD) {
      total += dw[i];
    }
    dw[i] = total;
  } else if (i < dims.size_w + dims.size_b) {
    let j = i - dims.size_w;
    for (var split = 0u; split < dims.splits; split++) {
      total += partial_b[split * dims.size_b + j];
    }
    if (ADD) {
      total += db[j];
    }
    db[j] = total;
  }
}
