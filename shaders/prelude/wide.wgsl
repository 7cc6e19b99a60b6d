// Elements of 64 bits, for the shaders whose names end in `_wide`. A software Vulkan driver loads
// and stores them component by component, so an element with two numbers costs half as much for
// each number. A vec4<u64> holds 8 numbers, a vec2<u64> holds 4, in the order of memory.

// Numbers 0, 2, 4 and 6 of eight.
fn even(v: vec4<u64>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(v));
}

// Numbers 1, 3, 5 and 7 of eight.
fn odd(v: vec4<u64>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(v >> vec4<u32>(32u)));
}

// The eight numbers of which these are the even and the odd ones.
fn interleave(even: vec4<f32>, odd: vec4<f32>) -> vec4<u64> {
  return vec4<u64>(bitcast<vec4<u32>>(even)) | (vec4<u64>(bitcast<vec4<u32>>(odd)) << vec4<u32>(32u));
}

// The four numbers of an element.
fn unpack(v: vec2<u64>) -> vec4<f32> {
  let even = bitcast<vec2<f32>>(vec2<u32>(v));
  let odd = bitcast<vec2<f32>>(vec2<u32>(v >> vec2<u32>(32u)));
  return vec4<f32>(even.x, odd.x, even.y, odd.y);
}

// The element of four numbers.
fn pack(v: vec4<f32>) -> vec2<u64> {
  let words = bitcast<vec4<u32>>(v);
  return vec2<u64>(words.xz) | (vec2<u64>(words.yw) << vec2<u32>(32u));
}

// Four numbers are in two elements if rows do not start with an element. This finds the elements
// for the numbers from index `at` on. Numbers from `end` on are undefined, and nothing there is
// read.
fn elements(at: u32, end: u32) -> vec2<u32> {
  return min(vec2<u32>(at / 4u, at / 4u + 1u), vec2<u32>((end - 1u) / 4u));
}

// The four numbers from index `at` on, of the numbers of the two elements.
fn shifted(at: u32, low: vec4<f32>, high: vec4<f32>) -> vec4<f32> {
  let odd = at % 2u == 1u;
  let first = select(low, vec4<f32>(low.yzw, high.x), odd);
  let second = select(high.xy, high.yz, odd);
  return select(first, vec4<f32>(first.zw, second), at % 4u >= 2u);
}
