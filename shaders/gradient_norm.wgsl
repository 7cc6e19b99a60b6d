// norm = (|g|, scale, finite, 0) of the whole gradient slab g [N], in vec4s:
// scale = min(1, LIMIT / (|g| + 1e-6)), as torch.nn.utils.clip_grad_norm_; finite = 1 if |g| is, else 0 and scale = 0.
// `partial`: each of COUNT workgroups sums the squares of its share; `forward`: one workgroup sums the parts. Fixed order, no atomics.
// FLOPs 2 N; bytes 4 N. Whether a number is finite is read off its bits: drivers may assume that x != x is false.

override COUNT: u32;   // of parts
override LIMIT: f32;

struct Dims { length: u32 }

@group(0) @binding(0) var<storage, read> g: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> parts: array<f32>;
@group(0) @binding(2) var<uniform> dims: Dims;

@compute @workgroup_size(WG)
fn partial(lane: Lane) {
  let part = workgroup_index(lane);
  let share = (dims.length + COUNT - 1u) / COUNT;
  var sum = 0.0;
  for (var i = part * share + lane.index; i < min((part + 1u) * share, dims.length); i += WG) {
    sum += dot(g[i], g[i]);
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u) {
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
