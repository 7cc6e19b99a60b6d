// Outer products between the lanes of a subgroup, for convolutions and matrix products on software
// Vulkan. There a load is slow and a shuffle is one instruction.
//
// A tile has 4 GROUPS rows, and 4 columns for each lane. Lane l < GROUPS holds rows 4 l to 4 l + 3
// of the left factor and broadcasts them to the other lanes.
//
// The tile must stay in registers. So the driver must unroll every loop over it, which makes
// indices and lane numbers constants. Mesa unrolls a loop if its trips times its instructions stay
// below about 800 and if no loop remains inside. Hence function bodies are small and called several
// times.

override GROUPS: u32;   // at most L
alias Tile = array<vec4<f32>, 4u * L>;

// tile[row] += a[row] * p
fn outer(tile: ptr<function, Tile>, a: vec4<f32>, p: vec4<f32>) {
  for (var l = 0u; l < GROUPS; l++) {
    (*tile)[4u * l] += subgroupShuffle(a.x, l) * p;
    (*tile)[4u * l + 1u] += subgroupShuffle(a.y, l) * p;
  }
  for (var l = 0u; l < GROUPS; l++) {
    (*tile)[4u * l + 2u] += subgroupShuffle(a.z, l) * p;
    (*tile)[4u * l + 3u] += subgroupShuffle(a.w, l) * p;
  }
}
