// x - k, which no compiler merges with a later addition. For `zero` pass a number that is 0, which
// the compiler does not know: the upper bit of a size in a uniform.
//
// Metal and DirectX compile with fast math, as WGSL allows (section 15.7.5, "Reassociation and
// Fusion"). Then x - k - m may become x - (k + m), with k + m computed once before a loop. If the
// mean of x is large compared with its deviation, k + m is rounded to a multiple of the unit in the
// last place of the mean, and the small difference from x is wrong by as much. No order of
// floating-point operations is safe from this, also not fma(x, 1, -k), and a bitcast there and back
// is removed. But a compiler cannot move an addition through an integer operation whose result it
// does not know.
fn difference(x: vec4<f32>, k: vec4<f32>, zero: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x - k) | vec4<u32>(zero));
}
