// norm = (|g|, scale, finite, 0) for the gradient of all parameters:
//   scale = min(1, LIMIT / (|g| + 1e-6)), as torch.nn.utils.clip_grad_norm_
//   finite = 1 if |g| is finite; else 0, and scale = 0
//
// g            [n]
// parts, sums  [COUNT]: partial sums of squares
// norm         [4]
// partial: each of COUNT workgroups sums the squares of an equal part. forward: one workgroup adds
// the parts. The order is fixed and there are no atomics.
// FLOPs 2 n; bytes 4 n. The bits of a number show whether it is finite, because drivers may assume
// that x != x is false.

override COUNT: u32;   // number of parts
override LIMIT: f32;

struct Dims { n: u32 }

@group(0) @binding(0) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn partial(lane: Lane) {
  let part = workgroup_index(lane);
  let length = (dims.n + 3u) / 4u;
  let share = (length + COUNT - 1u) / COUNT;
  var sum = 0.0;
  for (var i = part * share + lane.index; i < min((part + 1u) * share, length); i += WG) {
    // Other kernels may write the padding after the last element.
    let element = vec4<u32>(4u * i) + vec4<u32>(0u, 1u, 2u, 3u);
    let v = select(vec4<f32>(), g[i], element < vec4<u32>(dims.n));
    sum += dot(v, v);
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u && part < COUNT) {
    parts[part] = total;
  }
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  var sum = 0.0;
  var broken = 0.0;
  for (var i = lane.index; i < COUNT; i += WG) {
    sum += sums[i];
    broken += select(0.0, 1.0, (bitcast<u32>(sums[i]) & 0x7f800000u) == 0x7f800000u);
  }
  let total = sqrt(workgroup_sum(sum, lane));
  let finite = workgroup_sum(broken, lane) == 0.0;
  if (lane.index == 0u) {
    norm[0] = total;
    norm[1] = select(0.0, min(1.0, LIMIT / (total + 1e-6)), finite);
    norm[2] = select(0.0, 1.0, finite);
    norm[3] = 0.0;
  }
}
