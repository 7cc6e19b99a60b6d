// Row (step.index mod ROWS) of the log = (mean loss, |g|, finite, step, loss[0..B], t[0..B])
// The host reads the log every few steps, without stopping a step.
//
// loss      [B]
// t         [B] u32: timesteps
// norm      [4], from gradient_norm.wgsl
// log_rows  [ROWS, HEADER + 2 B]
// One invocation writes the row. FLOPs B; bytes 16 B.

override BATCH: u32;   // B
override ROWS: u32;

const HEADER = 4u;   // columns before the losses

@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> t: array<u32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> log_rows: array<f32>;

@compute @workgroup_size(1)
fn forward() {
  let row = (step.index % ROWS) * (HEADER + 2u * BATCH);
  var sum = 0.0;
  for (var b = 0u; b < BATCH; b++) {
    sum += loss[b];
    log_rows[row + HEADER + b] = loss[b];
    log_rows[row + HEADER + BATCH + b] = f32(t[b]);
  }
  log_rows[row] = sum / f32(BATCH);
  log_rows[row + 1u] = norm[0];
  log_rows[row + 2u] = norm[2];
  // Exact in f32, and never 0.
  log_rows[row + 3u] = f32(step.index % (1u << 24u) + 1u);
}
