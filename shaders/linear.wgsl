// y[b,o] = sum_i x[b,i] w[o,i] + bias[o], a fully connected layer. matmul.wgsl computes the
// products; this file has the gradient of the bias.
//
//   backward_bias  db[o] (+)= sum_b dy[b,o]
//
// dy  [batch, Co]
// db  [Co]
// One invocation per element of db; it adds in the order of the batch. FLOPs batch Co; bytes 4
// batch Co.

struct Dims { batch: u32, channels: u32 }   // channels: Co

override ADD: bool;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_bias(lane: Lane) {
  let o = flat_index(lane);
  if (o < dims.channels) {
    var total = 0.0;
    for (var i = 0u; i < dims.batch; i++) {
      total += dy[i * dims.channels + o];
    }
    if (ADD) {
      total += db[o];
    }
    db[o] = total;
  }
}
