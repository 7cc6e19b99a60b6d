// Convolution with a kernel of 3 x 3, stride 1 and one row of zeros around the image, whose rows
// have a multiple of 4 pixels, with elements of 64 bits.
//
//   convolve  result[n,m,i,j] (+)= bias[m] + sum_{k,r,s} w(m,k,r,s) source[n,k,i+r-1,j+s-1]
//             forward; with the weights of the gradient of x, that gradient
//
// source, pairs  [batch, channels_in, height, width], the same buffer as numbers and as elements;
//                zeros outside
// weights        [channels_out, chunks, 8, 20], packed by conv2d_direct_pack_wide.wgsl
// bias           [channels_out]; read if biased > 0
// result         [batch, channels_out, height, width]
//
// One workgroup is one subgroup of 8 lanes, and a lane owns a patch of 2 by 4 pixels. Patches are
// numbered through images, rows and columns. The workgroup loads 16 channels of its patches, with
// the pixels around. Then it computes one channel of the result after the other: a lane loads the
// weights of two channels of the source and broadcasts them. So no sum and no pixel is carried by a
// loop. A software driver blends what a loop carries with the mask of active lanes, which costs
// more than the arithmetic. With several chunks of 16 channels, the result holds the sums of the
// previous ones. Grid: 8 patches, folded into x and y.
// FLOPs 18 batch height width channels_in channels_out. For each channel of the source a patch
// loads 8 elements of 4 pixels, and for each channel of the result 5 elements of weights.

struct Dims {
  batch: u32,
  channels_in: u32,
  channels_out: u32,
  height: u32,
  width: u32,
  chunks: u32,
  biased: u32,
  add: u32,
}

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> pairs: array<vec2<u64>>;
@group(0) @binding(3) var<storage, read> weights: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<vec2<u64>>;

const PATCH_ROWS = 2u;
const PATCH_COLUMNS = 4u;        // an element
const ROWS = PATCH_ROWS + 2u;    // of a patch and of the pixels around it
const CHANNELS = 16u;            // of a chunk
const WEIGHTS = 5u;              // elements of weights that a lane loads

// A lane's pixels of a chunk: [channel][row], the columns of the patch and the column on each side.
// It must consist of separate variables, so the driver must unroll every loop over it. The prelude
// (outer_subgroup.wgsl) says when it does.
struct Chunk {
  inner: array<vec4<f32>, 64>,
  left: array<f32, 64>,
  right: array<f32, 64>,
}

// Sums of the two rows of a patch.
alias Sums = array<vec4<f32>, 2>;

// The pixels of a row of a channel that column s of the kernel meets.
fn pixels(chunk: ptr<function, Chunk>, c: u32, row: u32, s: u32) -> vec4<f32> {
  let v = (*chunk).inner[ROWS * c + row];
  if (s == 0u) {
    return vec4<f32>((*chunk).left[ROWS * c + row], v.xyz);
  }
  if (s == 2u) {
    return vec4<f32>(v.yzw, (*chunk).right[ROWS * c + row]);
  }
  return v;
}

// Adds tap k % 9 of channels 2 l + k / 9 for all lanes l.
fn add_tap(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, k: u32, weight: f32) {
  for (var l = 0u; l < 8u; l++) {
    let w = subgroupShuffle(weight, l);
    let c = 2u * l + k / 9u;
    let r = k % 9u / 3u;
    (*sums)[0] += w * pixels(chunk, c, r, k % 3u);
    (*sums)[1] += w * pixels(chunk, c, r + 1u, k % 3u);
  }
}

fn add_taps(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, k: u32, w: vec4<f32>) {
  add_tap(sums, chunk, k, w.x);
  add_tap(sums, chunk, k + 1u, w.y);
  add_tap(sums, chunk, k + 2u, w.z);
  add_tap(sums, chunk, k + 3u, w.w);
}

// A patch, and the lane that owns it. `live`: the patch exists.
struct Patch { image: u32, y: u32, x: u32, live: bool, lane: u32 }

// Loads channel c of the chunk, which is the plane that begins at `plane`.
fn load_channel(chunk: ptr<function, Chunk>, at: Patch, plane: u32, c: u32) {
  for (var row = 0u; row < ROWS; row++) {
    let y = at.y + row;   // one more than the row of the image
    let inside = y > 0u && y <= dims.height;
    let start = plane + (clamp(y, 1u, dims.height) - 1u) * dims.width + at.x;
    let v = select(vec4<f32>(), unpack(pairs[start / PATCH_COLUMNS]), inside);
    let has_left = inside && at.x > 0u;
    let has_right = inside && at.x + PATCH_COLUMNS < dims.width;
    // The lanes next to this one have the pixels beside the patch, except for the outer lanes.
    let before = subgroupShuffle(v.w, max(at.lane, 1u) - 1u);
    let after = subgroupShuffle(v.x, min(at.lane + 1u, 7u));
    var far = 0.0;
    if (at.lane == 0u && has_left || at.lane == 7u && has_right) {
      far = source[select(start + PATCH_COLUMNS, start - 1u, at.lane == 0u)];
    }
    (*chunk).inner[ROWS * c + row] = v;
    (*chunk).left[ROWS * c + row] = select(0.0, select(before, far, at.lane == 0u), has_left);
    (*chunk).right[ROWS * c + row] = select(0.0, select(after, far, at.lane == 7u), has_right);
  }
}

// Loads four channels of the chunk that begins with channel `first`. Past the end the last channel
// is repeated; its weights are zero.
fn load4(chunk: ptr<function, Chunk>, at: Patch, first: u32, c: u32) {
  let plane = dims.height * dims.width;
  for (var i = c; i < c + 4u; i++) {
    let channel = min(first + i, dims.channels_in - 1u);
    load_channel(chunk, at, (at.image * dims.channels_in + channel) * plane, i);
  }
}

// The bias of channel m. A load in one lane costs less than one in all lanes.
fn bias_of(lane: u32, m: u32) -> f32 {
  var b = 0.0;
  if (lane == 0u) {
    b = bias[m];
  }
  return subgroupShuffle(b, 0u);
}

// The invocation does not take a Lane: if one member of a struct differs between lanes, Tint
// assumes that all members do, and rejects subgroup functions in a loop that depends on one.
@compute @workgroup_size(L)
fn convolve(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let columns = dims.width / PATCH_COLUMNS;
  let lines = (dims.height + PATCH_ROWS - 1u) / PATCH_ROWS;
  let total = dims.batch * lines * columns;
  let number = workgroup_index(Lane(group, groups, index)) * L + index;
  let mine = min(number, total - 1u);
  let line = mine / columns;
  let at = Patch(
    line / lines, PATCH_ROWS * (line % lines), PATCH_COLUMNS * (mine % columns), number < total, index,
  );
  let plane = dims.height * columns;
  let has_second = at.live && at.y + 1u < dims.height;
  for (var n = 0u; n < dims.chunks; n++) {
    var chunk: Chunk;
    load4(&chunk, at, CHANNELS * n, 0u);
    load4(&chunk, at, CHANNELS * n, 4u);
    load4(&chunk, at, CHANNELS * n, 8u);
    load4(&chunk, at, CHANNELS * n, 12u);
    var to = at.image * dims.channels_out * plane + at.y * columns + at.x / PATCH_COLUMNS;
    for (var m = 0u; m < dims.channels_out; m++) {
      let entry = ((m * dims.chunks + n) * 8u + index) * WEIGHTS;
      let last = unpack(weights[entry + 4u]);
      var sums: Sums;
      if (dims.add > 0u || n > 0u) {
        sums = Sums(unpack(result[to]), unpack(result[select(to, to + columns, has_second)]));
      }
      if (dims.biased > 0u && n == 0u) {
        let b = vec4<f32>(bias_of(index, m));
        sums[0] += b;
        sums[1] += b;
      }
      add_taps(&sums, &chunk, 0u, unpack(weights[entry]));
      add_taps(&sums, &chunk, 4u, unpack(weights[entry + 1u]));
      add_taps(&sums, &chunk, 8u, unpack(weights[entry + 2u]));
      add_taps(&sums, &chunk, 12u, unpack(weights[entry + 3u]));
      add_tap(&sums, &chunk, 16u, last.x);
      add_tap(&sums, &chunk, 17u, last.y);
      if (at.live) {
        result[to] = pack(sums[0]);
      }
      if (has_second) {
        result[to + columns] = pack(sums[1]);
      }
      to += plane;
    }
  }
}
