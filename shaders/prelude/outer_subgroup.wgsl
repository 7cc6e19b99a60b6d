// Outer products between the lanes of a subgroup: what convolutions and matrix products are made of where loads are dear and a shuffle is
// one instruction (software Vulkan).
// A tile has 4 QUADS rows and 4 columns for each lane; lane l < QUADS holds rows 4 l .. 4 l + 3 of the left factor and broadcasts them.

override QUADS: u32;   // 1 to L
alias Tile = array<vec4<f32>, 4u * L>;

// tile[row] += a[row] * p. One small loop: the driver unrolls it, so that the tile stays in registers and every shuffle reads a constant
// lane. (It does not unroll a loop around this one: call it several times instead.)
fn outer(tile: ptr<function, Tile>, a: vec4<f32>, p: vec4<f32>) {
  for (var l = 0u; l < QUADS; l++) {
    (*tile)[4u * l] += subgroupShuffle(a.x, l) * p;
    (*tile)[4u * l + 1u] += subgroupShuffle(a.y, l) * p;
    (*tile)[4u * l + 2u] += subgroupShuffle(a.z, l) * p;
    (*tile)[4u * l + 3u] += subgroupShuffle(a.w, l) * p;
  }
}
