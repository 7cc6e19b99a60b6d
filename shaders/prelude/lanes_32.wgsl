// Lanes of a subgroup. The number is known when a shader is linked, so that loops over lanes are
// unrolled.
const L = 32u;
