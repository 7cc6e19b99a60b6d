// Outer products between the lanes of a subgroup: what convolutions and matrix products are made of where loads are dear and a shuffle is
// one instruction (software Vulkan).
// A tile has 4 GROUPS rows and 4 columns for each lane; lane l < GROUPS holds rows 4 l .. 4 l + 3 of the left factor and broadcasts them.
//
// The tile must stay in registers, so every loop over it must be unrolled by the driver, so that indices and lanes are constants. Mesa unrolls
// a loop if trips times instructions stay below about 800, and none with a loop inside that stays: hence small bodies, called several times.

override GROUPS: u32;   // 1 to min(L, 8)
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
