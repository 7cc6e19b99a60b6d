// Convolution with a kernel of 1 x 1 for images whose number of pixels is a multiple of 4, with
// elements of 64 bits. It is a matrix product over channels, with pixels numbered through the
// batch.
//
//   convolve8, convolve4  result[n,m,p] (+)= bias[m] + sum_k weights[m,k] source[n,k,p]
//                         forward; with the transposed weights the gradient of x
//
// source   [batch, channels_in, pixels]
// weights  [channels_out, 8 row]; the weights past channels_in are zero. If channels_in = 8 row,
//          this is the order of PyTorch. Otherwise, and for transposed weights,
//          conv2d_point_pack_wide.wgsl makes a copy
// bias     [channels_out]; read if biased > 0
// result   [batch, channels_out, pixels]
//
// The name of a kernel tells how many neighboring pixels an element has: 8 if the number of pixels
// is a multiple of 8, otherwise 4. `columns` and `area` count elements.
//
// One workgroup is one subgroup, and a lane owns 8 pixels, which are one or two elements. The
// workgroup loads a chunk of 8 CHUNK_LANES channels of its pixels. Then it computes the sums of one
// row of weights after the other: lane l < CHUNK_LANES loads 8 weights of the row and broadcasts
// them. So no sum and no pixel is carried by a loop. A software driver blends what a loop carries
// with the mask of active lanes, which costs more than the arithmetic. With several chunks, the
// result holds the sums of the previous ones. Grid: (8 L pixels, folded into x and y; rows of
// weights, z).
// FLOPs 2 batch pixels channels_in channels_out. Bytes 4 batch pixels (z channels_in +
// (2 chunks - 1) channels_out); the weights come from caches.

// columns  elements of a plane, times batch
// area     elements of a plane
// row      elements in a row of weights, a multiple of CHUNK_LANES
// rows     rows of weights in a workgroup
struct Dims {
  columns: u32,
  area: u32,
  channels_in: u32,
  channels_out: u32,
  row: u32,
  rows: u32,
  biased: u32,
  add: u32,
}

override CHUNK_LANES: u32;   // 4 or 8, and at most L

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4<u64>>;

// The lane's pixels of a chunk: [channel][half]. It must consist of separate variables, so the
// driver must unroll every loop over it. The prelude (outer_subgroup.wgsl) says when it does.
alias Chunk = array<vec4<f32>, 128>;

// Sums of the lane's pixels.
alias Sums = array<vec4<f32>, 2>;

// Adds channels 8 l + j of all lanes l. `weight` is that of channel 8 l + j in lane l.
fn add_channels(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, j: u32, weight: f32) {
  for (var l = 0u; l < CHUNK_LANES; l++) {
    let w = subgroupShuffle(weight, l);
    (*sums)[0] += w * (*chunk)[2u * (8u * l + j)];
    (*sums)[1] += w * (*chunk)[2u * (8u * l + j) + 1u];
  }
}

// Adds all channels of a chunk. `w` has the weights of channels 8 l to 8 l + 7 in lane l.
fn add_chunk(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, w: vec4<u64>) {
  let a = even(w);
  let b = odd(w);
  add_channels(sums, chunk, 0u, a.x);
  add_channels(sums, chunk, 1u, b.x);
  add_channels(sums, chunk, 2u, a.y);
  add_channels(sums, chunk, 3u, b.y);
  add_channels(sums, chunk, 4u, a.z);
  add_channels(sums, chunk, 5u, b.z);
  add_channels(sums, chunk, 6u, a.w);
  add_channels(sums, chunk, 7u, b.w);
}

// Index of the plane of a channel, relative to channel 0. Past the end the last one is repeated.
fn plane(channel: u32) -> u32 {
  return min(channel, dims.channels_in - 1u) * dims.area;
}

// Weights of row m in this lane, for the chunk from element `first` of the row on.
fn row_weights(index: u32, m: u32, first: u32) -> vec4<u64> {
  var w = vec4<u64>();
  if (index < CHUNK_LANES) {
    w = weights[m * dims.row + first + index];
  }
  return w;
}

// The bias of row m. A load in one lane costs less than one in all lanes.
fn row_bias(index: u32, m: u32) -> f32 {
  var b = 0.0;
  if (index == 0u) {
    b = bias[m];
  }
  return subgroupShuffle(b, 0u);
}

// Loads 16 channels of a chunk, from channel `to` of the chunk on.
fn load8(chunk: ptr<function, Chunk>, at: u32, first: u32, to: u32) {
  for (var k = 0u; k < 16u; k++) {
    let v = source[at + plane(first + to + k)];
    (*chunk)[2u * (to + k)] = even(v);
    (*chunk)[2u * (to + k) + 1u] = odd(v);
  }
}

// The invocation does not take a Lane: if one member of a struct differs between lanes, Tint
// assumes that all members do, and rejects subgroup functions in a loop that depends on one.
@compute @workgroup_size(L)
fn convolve8(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let column = workgroup_index(Lane(group, groups, index)) * L + index;
  let mine = min(column, dims.columns - 1u);
  let image = mine / dims.area;
  let pixel = mine % dims.area;
  let at = image * dims.channels_in * dims.area + pixel;
  let top = group.z * dims.rows;
  let end = min(top + dims.rows, dims.channels_out);
  for (var first = 0u; first < dims.row; first += CHUNK_LANES) {
    var chunk: Chunk;
    load8(&chunk, at, 8u * first, 0u);
    load8(&chunk, at, 8u * first, 16u);
    if (CHUNK_LANES > 4u) {
      load8(&chunk, at, 8u * first, 32u);
      load8(&chunk, at, 8u * first, 48u);
    }
    var to = (image * dims.channels_out + top) * dims.area + pixel;
    for (var m = top; m < end; m++) {
      let w = row_weights(index, m, first);
      var sums: Sums;
      if (dims.add > 0u || first > 0u) {
        let v = result[to];
        sums = Sums(even(v), odd(v));
      }
      if (dims.biased > 0u && first == 0u) {
        let b = vec4<f32>(row_bias(index, m));
        sums[0] += b;
        sums[1] += b;
      }
      add_chunk(&sums, &chunk, w);
      if (column < dims.columns) {
        result[to] = interleave(sums[0], sums[1]);
      }
      to += dims.area;
    }
  }
}

// The same for elements of four pixels, of which a lane owns two.
@group(0) @binding(1) var<storage, read> source4: array<vec2<u64>>;
@group(0) @binding(4) var<storage, read_write> result4: array<vec2<u64>>;

fn load4(chunk: ptr<function, Chunk>, at: vec2<u32>, first: u32, to: u32) {
  for (var k = 0u; k < 16u; k++) {
    let i = at + plane(first + to + k);
    (*chunk)[2u * (to + k)] = unpack(source4[i.x]);
    (*chunk)[2u * (to + k) + 1u] = unpack(source4[i.y]);
  }
}

@compute @workgroup_size(L)
fn convolve4(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let column = 2u * workgroup_index(Lane(group, groups, index)) * L + index + vec2<u32>(0u, L);
  let mine = min(column, vec2<u32>(dims.columns - 1u));
  let image = mine / dims.area;
  let pixel = mine % dims.area;
  let at = image * dims.channels_in * dims.area + pixel;
  let top = group.z * dims.rows;
  let end = min(top + dims.rows, dims.channels_out);
  for (var first = 0u; first < dims.row; first += CHUNK_LANES) {
    var chunk: Chunk;
    load4(&chunk, at, 8u * first, 0u);
    load4(&chunk, at, 8u * first, 16u);
    if (CHUNK_LANES > 4u) {
      load4(&chunk, at, 8u * first, 32u);
      load4(&chunk, at, 8u * first, 48u);
    }
    var to = (image * dims.channels_out + top) * dims.area + pixel;
    for (var m = top; m < end; m++) {
      let w = row_weights(index, m, first);
      var sums: Sums;
      if (dims.add > 0u || first > 0u) {
        sums = Sums(unpack(result4[to.x]), unpack(result4[to.y]));
      }
      if (dims.biased > 0u && first == 0u) {
        let b = vec4<f32>(row_bias(index, m));
        sums[0] += b;
        sums[1] += b;
      }
      add_chunk(&sums, &chunk, w);
      if (column.x < dims.columns) {
        result4[to.x] = pack(sums[0]);
      }
      if (column.y < dims.columns) {
        result4[to.y] = pack(sums[1]);
      }
      to += dims.area;
    }
  }
}
