// Reductions for the tiled variant on devices with subgroup operations. All lanes get the result.
// The functions end with a barrier if they use workgroup memory, so it can be used again at once.
//
// L is the smallest subgroup that the device may run a kernel with, or 32 if that is smaller. A
// block of L neighboring lanes is in one subgroup whatever size the driver chooses, because sizes
// are powers of two and drivers divide a workgroup of one dimension in order. WGSL does not promise
// that order; the kernel tests show it. A block adds by shuffles in a fixed order (subgroupAdd has
// none). The sums of blocks are added in order, through workgroup memory. So the result has the
// same bits in every run, and for every subgroup size.

const WG = 256u;

// The sum over an aligned block of `span` lanes, at most L.
fn block_sum(value: vec2<f32>, span: u32) -> vec2<f32> {
  var total = value;
  for (var width = span / 2u; width > 0u; width = width / 2u) {
    total += subgroupShuffleXor(total, width);
  }
  return total;
}

var<workgroup> scratch: array<f32, WG / L>;

fn workgroup_sum(value: f32, lane: Lane) -> f32 {
  let block = block_sum(vec2<f32>(value, 0.0), L).x;
  if (lane.index % L == 0u) {
    scratch[lane.index / L] = block;
  }
  workgroupBarrier();
  var total = scratch[0];
  for (var i = 1u; i < WG / L; i++) {
    total += scratch[i];
  }
  workgroupBarrier();
  return total;
}

var<workgroup> scratch_pairs: array<vec2<f32>, WG / L>;

// Sums over each aligned block of `span` lanes, where span is a power of two and at most WG. All
// lanes of a block get its sum.
fn span_sum(value: vec2<f32>, lane: Lane, span: u32) -> vec2<f32> {
  let block = block_sum(value, min(span, L));
  if (span <= L) {
    return block;
  }
  if (lane.index % L == 0u) {
    scratch_pairs[lane.index / L] = block;
  }
  workgroupBarrier();
  let first = lane.index / span * (span / L);
  var total = scratch_pairs[first];
  for (var i = 1u; i < span / L; i++) {
    total += scratch_pairs[first + i];
  }
  workgroupBarrier();
  return total;
}
