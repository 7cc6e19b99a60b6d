// Gradients of the weights and the bias of a 1x1 convolution, for images whose number of pixels is
// a multiple of 4, with elements of 64 bits.
//
//   partial8, partial4  partial_w[split,o,c] = sum_{n,p} dy[n,o,p] x[n,c,p]
//                       partial_b[split,o] = sum_{n,p} dy[n,o,p]
//   sum                 dw (+)= sum_split partial_w;  db (+)= sum_split partial_b
//
// x          [batch, channels_in, pixels]
// dy         [batch, channels_out, pixels]
// partial_w  [splits, blocks, channels_out, L, 8]; c = (block L + lane) LANE_CHANNELS + r is at
//            index r < LANE_CHANNELS of the last dimension; its other entries are zero
// partial_b  [splits, channels_out]
// dw, db     [channels_out, channels_in], [channels_out]
//
// The name of a kernel tells how many neighboring pixels an element has: 8 if the number of pixels
// is a multiple of 8, otherwise 4. `columns` and `area` count elements.
//
// One workgroup is one subgroup. A lane owns LANE_CHANNELS channels of x, and L lanes are a block.
// The workgroup loads a chunk of 8 RUNS CHUNK_LANES pixels of its channels. Then it computes the
// sums of one row of dy after the other: lane l < CHUNK_LANES loads 8 RUNS pixels of the row and
// broadcasts them. So no sum and no pixel is carried by a loop. A software driver blends what a
// loop carries with the mask of active lanes, which costs more than the arithmetic. partial_w holds
// the sums of the previous chunks. Grid (blocks, splits); a split owns a range of chunks, because
// neighboring pixels should be read soon after each other.
// FLOPs 2 batch pixels channels_in channels_out. Bytes 4 batch pixels (channels_in + blocks
// channels_out); partial_w, 64 L channels_out per chunk, comes from caches.
//
// sum: one invocation per 8 entries of a split of partial_w, then one per element of db. It adds
// the splits in order, so every run gives the same bits. Bytes 4 (splits + 1) (size of dw and db).

// columns  elements of a plane, times batch
// area     elements of a plane
struct Dims { columns: u32, area: u32, channels_in: u32, channels_out: u32, splits: u32 }

override LANE_CHANNELS: u32;   // 4, 6 or 8
override CHUNK_LANES: u32;     // 4 or 8, and at most L

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

override RUNS = select(1u, 2u, LANE_CHANNELS < 6u);    // runs of 8 pixels in a lane
override BLOCK = L * LANE_CHANNELS;                    // channels of a workgroup

// The lane's channels of a chunk of x: [pixel][channel]. It must consist of separate variables, so
// the driver must unroll every loop over it. The prelude (outer_subgroup.wgsl) says when it does.
alias Chunk = array<f32, 512>;
alias Sums = array<f32, 8>;

// Adds the products with pixels 8 RUNS l + j of all lanes l. `pixel` is that pixel of dy in lane l.
fn add_pixels(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, j: u32, pixel: f32) {
  for (var l = 0u; l < CHUNK_LANES; l++) {
    let d = subgroupShuffle(pixel, l);
    let i = (8u * RUNS * l + j) * LANE_CHANNELS;
    (*sums)[0] += d * (*chunk)[i];
    (*sums)[1] += d * (*chunk)[i + 1u];
    (*sums)[2] += d * (*chunk)[i + 2u];
    (*sums)[3] += d * (*chunk)[i + 3u];
    if (LANE_CHANNELS > 4u) {
      (*sums)[4] += d * (*chunk)[i + 4u];
      (*sums)[5] += d * (*chunk)[i + 5u];
    }
    if (LANE_CHANNELS > 6u) {
      (*sums)[6] += d * (*chunk)[i + 6u];
      (*sums)[7] += d * (*chunk)[i + 7u];
    }
  }
}

// Adds the products with 8 pixels of each lane, from pixel `j` of the lane on.
fn add_run(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, j: u32, a: vec4<f32>, b: vec4<f32>) {
  add_pixels(sums, chunk, j, a.x);
  add_pixels(sums, chunk, j + 1u, a.y);
  add_pixels(sums, chunk, j + 2u, a.z);
  add_pixels(sums, chunk, j + 3u, a.w);
  add_pixels(sums, chunk, j + 4u, b.x);
  add_pixels(sums, chunk, j + 5u, b.y);
  add_pixels(sums, chunk, j + 6u, b.z);
  add_pixels(sums, chunk, j + 7u, b.w);
}

// Stores four neighboring pixels of channel r of the lane.
fn keep(chunk: ptr<function, Chunk>, pixel: u32, r: u32, v: vec4<f32>) {
  let i = pixel * LANE_CHANNELS + r;
  (*chunk)[i] = v.x;
  (*chunk)[i + LANE_CHANNELS] = v.y;
  (*chunk)[i + 2u * LANE_CHANNELS] = v.z;
  (*chunk)[i + 3u * LANE_CHANNELS] = v.w;
}

// Index of an element of channel 0 in a tensor. Past the end the last element is repeated.
fn spot(column: u32, channels: u32) -> u32 {
  let mine = min(column, dims.columns - 1u);
  return mine / dims.area * channels * dims.area + mine % dims.area;
}

// Index of the plane of a channel of x, relative to channel 0.
fn plane(channel: u32) -> u32 {
  return min(channel, dims.channels_in - 1u) * dims.area;
}

// The sums of the previous chunks.
fn sums_before(at: u32) -> Sums {
  let v = partial_w[at];
  let a = even(v);
  let b = odd(v);
  return Sums(a.x, b.x, a.y, b.y, a.z, b.z, a.w, b.w);
}

fn save(at: u32, sums: Sums) {
  let a = vec4<f32>(sums[0], sums[2], sums[4], sums[6]);
  let b = vec4<f32>(sums[1], sums[3], sums[5], sums[7]);
  partial_w[at] = interleave(a, b);
}

// Adds v of all lanes, which hold pixels of a row of dy, to the row's sum.
fn add_bias(at: u32, v: vec4<f32>, saves: bool, is_first: bool) {
  let mine = v.x + v.y + v.z + v.w;
  var total = 0.0;
  for (var l = 0u; l < CHUNK_LANES; l++) {
    total += subgroupShuffle(mine, l);
  }
  if (saves) {
    if (!is_first) {
      total += partial_b[at];
    }
    partial_b[at] = total;
  }
}

// Loads RUNS runs of 8 pixels: the part of the chunk that lane l of dy multiplies.
fn load8(chunk: ptr<function, Chunk>, column: u32, channel: u32, l: u32) {
  for (var k = 0u; k < RUNS * LANE_CHANNELS; k++) {
    let run = RUNS * l + k / LANE_CHANNELS;
    let r = k % LANE_CHANNELS;
    let v = x[spot(column + run, dims.channels_in) + plane(channel + r)];
    let a = even(v);
    let b = odd(v);
    keep(chunk, 8u * run, r, vec4<f32>(a.x, b.x, a.y, b.y));
    keep(chunk, 8u * run + 4u, r, vec4<f32>(a.z, b.z, a.w, b.w));
  }
}

// An element of dy, or zero past the end.
fn pixels8(at: u32, column: u32) -> vec4<u64> {
  var v = vec4<u64>();
  if (column < dims.columns) {
    v = dy[at];
  }
  return v;
}

// The invocation does not take a Lane: if one member of a struct differs between lanes, Tint
// assumes that all members do, and rejects subgroup functions in a loop that depends on one.
@compute @workgroup_size(L)
fn partial8(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let block = group.x;
  let split = group.y;
  let blocks = (dims.channels_in + BLOCK - 1u) / BLOCK;
  let chunks = (dims.columns + CHUNK_LANES * RUNS - 1u) / (CHUNK_LANES * RUNS);
  let first = split * chunks / dims.splits;
  let end = (split + 1u) * chunks / dims.splits;
  let channel = block * BLOCK + index * LANE_CHANNELS;
  for (var n = first; n < end; n++) {
    var chunk: Chunk;
    let column = n * CHUNK_LANES * RUNS;
    load8(&chunk, column, channel, 0u);
    load8(&chunk, column, channel, 1u);
    load8(&chunk, column, channel, 2u);
    load8(&chunk, column, channel, 3u);
    if (CHUNK_LANES > 4u) {
      load8(&chunk, column, channel, 4u);
      load8(&chunk, column, channel, 5u);
      load8(&chunk, column, channel, 6u);
      load8(&chunk, column, channel, 7u);
    }
    let mine = select(dims.columns, column + index * RUNS, index < CHUNK_LANES);
    var at = vec2<u32>(spot(mine, dims.channels_out), spot(mine + 1u, dims.channels_out));
    var to = (split * blocks + block) * dims.channels_out * L + index;
    for (var o = 0u; o < dims.channels_out; o++) {
      var sums: Sums;
      if (n > first) {
        sums = sums_before(to);
      }
      let v = pixels8(at.x, mine);
      let a = even(v);
      let b = odd(v);
      add_run(&sums, &chunk, 0u, vec4<f32>(a.x, b.x, a.y, b.y), vec4<f32>(a.z, b.z, a.w, b.w));
      var row = a + b;
      if (RUNS > 1u) {
        let v = pixels8(at.y, mine + 1u);
        let a = even(v);
        let b = odd(v);
        add_run(&sums, &chunk, 8u, vec4<f32>(a.x, b.x, a.y, b.y), vec4<f32>(a.z, b.z, a.w, b.w));
        row += a + b;
      }
      save(to, sums);
      add_bias(split * dims.channels_out + o, row, block == 0u && index == 0u, n == first);
      at += dims.area;
      to += L;
    }
  }
}

// The same for elements of four pixels.
@group(0) @binding(1) var<storage, read> x4: array<vec2<u64>>;
@group(0) @binding(2) var<storage, read> dy4: array<vec2<u64>>;

fn load4(chunk: ptr<function, Chunk>, column: u32, channel: u32, l: u32) {
  load_half(chunk, column, channel, 2u * l);
  load_half(chunk, column, channel, 2u * l + 1u);
}

fn load_half(chunk: ptr<function, Chunk>, column: u32, channel: u32, half: u32) {
  for (var k = 0u; k < RUNS * LANE_CHANNELS; k++) {
    let element = RUNS * half + k / LANE_CHANNELS;
    let r = k % LANE_CHANNELS;
    keep(chunk, 4u * element, r, unpack(x4[spot(column + element, dims.channels_in) + plane(channel + r)]));
  }
}

// An element of dy, or zero past the end.
fn pixels4(at: u32, column: u32) -> vec4<f32> {
  var v = vec2<u64>();
  if (column < dims.columns) {
    v = dy4[at];
  }
  return unpack(v);
}

@compute @workgroup_size(L)
fn partial4(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let block = group.x;
  let split = group.y;
  let blocks = (dims.channels_in + BLOCK - 1u) / BLOCK;
  let chunks = (dims.columns + 2u * CHUNK_LANES * RUNS - 1u) / (2u * CHUNK_LANES * RUNS);
  let first = split * chunks / dims.splits;
  let end = (split + 1u) * chunks / dims.splits;
  let channel = block * BLOCK + index * LANE_CHANNELS;
  for (var n = first; n < end; n++) {
    var chunk: Chunk;
    let column = 2u * n * CHUNK_LANES * RUNS;
    load4(&chunk, column, channel, 0u);
    load4(&chunk, column, channel, 1u);
    load4(&chunk, column, channel, 2u);
    load4(&chunk, column, channel, 3u);
    if (CHUNK_LANES > 4u) {
      load4(&chunk, column, channel, 4u);
      load4(&chunk, column, channel, 5u);
      load4(&chunk, column, channel, 6u);
      load4(&chunk, column, channel, 7u);
    }
    let mine = select(dims.columns, column + 2u * index * RUNS, index < CHUNK_LANES);
    var at = vec4<u32>(
      spot(mine, dims.channels_out), spot(mine + 1u, dims.channels_out),
      spot(mine + 2u, dims.channels_out), spot(mine + 3u, dims.channels_out),
    );
    var to = (split * blocks + block) * dims.channels_out * L + index;
    for (var o = 0u; o < dims.channels_out; o++) {
      var sums: Sums;
      if (n > first) {
        sums = sums_before(to);
      }
      let a = pixels4(at.x, mine);
      let b = pixels4(at.y, mine + 1u);
      add_run(&sums, &chunk, 0u, a, b);
      var row = a + b;
      if (RUNS > 1u) {
        let a = pixels4(at.z, mine + 2u);
        let b = pixels4(at.w, mine + 3u);
        add_run(&sums, &chunk, 8u, a, b);
        row += a + b;
      }
      save(to, sums);
      add_bias(split * dims.channels_out + o, row, block == 0u && index == 0u, n == first);
      at += dims.area;
      to += L;
    }
  }
}

override ADD: bool;

@group(0) @binding(3) var<storage, read> sums_w: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read> sums_b: array<f32>;
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;
@group(0) @binding(6) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(FLAT)
fn sum(lane: Lane) {
  let i = flat_index(lane);
  let size = (dims.channels_in + BLOCK - 1u) / BLOCK * dims.channels_out * L;
  if (i < size) {
    var a = vec4<f32>();
    var b = vec4<f32>();
    for (var split = 0u; split < dims.splits; split++) {
      let v = sums_w[split * size + i];
      a += even(v);
      b += odd(v);
    }
    let o = i / L % dims.channels_out;
    let channel = i / (L * dims.channels_out) * BLOCK + i % L * LANE_CHANNELS;
    let at = o * dims.channels_in + channel;
    let room = min(max(dims.channels_in, channel) - channel, LANE_CHANNELS);
    put(at, a.x, room > 0u);
    put(at + 1u, b.x, room > 1u);
    put(at + 2u, a.y, room > 2u);
    put(at + 3u, b.y, room > 3u);
    put(at + 4u, a.z, room > 4u);
    put(at + 5u, b.z, room > 5u);
    put(at + 6u, a.w, room > 6u);
    put(at + 7u, b.w, room > 7u);
  } else if (i < size + dims.channels_out) {
    let o = i - size;
    var total = 0.0;
    for (var split = 0u; split < dims.splits; split++) {
      total += sums_b[split * dims.channels_out + o];
    }
    if (ADD) {
      total += db[o];
    }
    db[o] = total;
  }
}

fn put(at: u32, v: f32, live: bool) {
  if (live) {
    if (ADD) {
      dw[at] += v;
    } else {
      dw[at] = v;
    }
  }
}
