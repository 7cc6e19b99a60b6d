// Lanes of a subgroup: known when the shader is linked, so loops over lanes are unrolled.
const L = 4u;
