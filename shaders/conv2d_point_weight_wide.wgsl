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

override LANE_CHANNELS: u32;   // 4 or 8
override CHUNK_LANES: u32;     // 4 or 8, and at most L

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

override RUNS = 8u / LANE_CHANNELS;      // runs of 8 pixels in a lane
override BLOCK = L * LANE_CHANNELS;      // channels of a workgroup

// The lane's channels of a chunk of x: vectors for each pixel. It must consist of separate
// variables, so the driver must unroll every loop over it. The prelude (outer_subgroup.wgsl) says
// when it does. Only the members for LANE_CHANNELS are used. With an array of numbers the driver
// needs three times as long to create the pipeline.
struct Chunk {
  first: array<vec4<f32>, 128>,   // channels 0 to 3
  last: array<vec4<f32>, 64>,     // channels 4 to 7
}

// The sums of the lane's channels.
struct Sums { first: vec4<f32>, last: vec4<f32> }

// Adds the products with pixels 8 RUNS l + j of all lanes l. `pixel` is that pixel of dy in lane l.
fn add_pixels(sums: ptr<function, Sums>, chunk: ptr<function, Chunk>, j: u32, pixel: f32) {
  for (var l = 0u; l < CHUNK_LANES; l++) {
    let d = subgroupShuffle(pixel, l);
    let i = 8u * RUNS * l + j;
    (*sums).first += d * (*chunk).first[i];
    if (LANE_CHANNELS > 4u) {
      (*sums).last += d * (*chunk).last[i];
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

// Stores pixels i, i + step, i + 2 step and i + 3 step of channels 0 to 3. Not a loop: with a
// variable index into the matrix the driver needs a tenth longer to create the pipeline.
fn keep_first(chunk: ptr<function, Chunk>, i: u32, step: u32, pixels: mat4x4<f32>) {
  (*chunk).first[i] = pixels[0];
  (*chunk).first[i + step] = pixels[1];
  (*chunk).first[i + 2u * step] = pixels[2];
  (*chunk).first[i + 3u * step] = pixels[3];
}

fn keep_last(chunk: ptr<function, Chunk>, i: u32, step: u32, pixels: mat4x4<f32>) {
  (*chunk).last[i] = pixels[0];
  (*chunk).last[i + step] = pixels[1];
  (*chunk).last[i + 2u * step] = pixels[2];
  (*chunk).last[i + 3u * step] = pixels[3];
}

// Index of an element of channel 0 in a tensor. Past the end the last element is repeated.
fn spot(column: u32, channels: u32) -> u32 {
  let mine = min(column, dims.columns - 1u);
  return mine / dims.area * channels * dims.area + mine % dims.area;
}

// Indices of the planes of four channels of x, relative to channel 0.
fn planes(channel: u32) -> vec4<u32> {
  let channels = vec4<u32>(channel) + vec4<u32>(0u, 1u, 2u, 3u);
  return min(channels, vec4<u32>(dims.channels_in - 1u)) * dims.area;
}

// The sums of the previous chunks.
fn sums_before(at: u32) -> Sums {
  let v = partial_w[at];
  let a = even(v);
  let b = odd(v);
  return Sums(vec4<f32>(a.x, b.x, a.y, b.y), vec4<f32>(a.z, b.z, a.w, b.w));
}

fn save(at: u32, sums: Sums) {
  let a = sums.first;
  let b = sums.last;
  partial_w[at] = interleave(vec4<f32>(a.xz, b.xz), vec4<f32>(a.yw, b.yw));
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

// 8 pixels of four channels: a column for each pixel.
struct Run { even: mat4x4<f32>, odd: mat4x4<f32> }

// `at`: element of channel 0.
fn run_of(at: u32, plane: vec4<u32>) -> Run {
  let a = x[at + plane.x];
  let b = x[at + plane.y];
  let c = x[at + plane.z];
  let d = x[at + plane.w];
  return Run(
    transpose(mat4x4<f32>(even(a), even(b), even(c), even(d))),
    transpose(mat4x4<f32>(odd(a), odd(b), odd(c), odd(d))),
  );
}

// Loads RUNS runs of 8 pixels: the part of the chunk that lane l of dy multiplies.
fn load8(chunk: ptr<function, Chunk>, column: u32, first: vec4<u32>, last: vec4<u32>, l: u32) {
  for (var run = RUNS * l; run < RUNS * l + RUNS; run++) {
    let at = spot(column + run, dims.channels_in);
    let p = run_of(at, first);
    keep_first(chunk, 8u * run, 2u, p.even);
    keep_first(chunk, 8u * run + 1u, 2u, p.odd);
    if (LANE_CHANNELS > 4u) {
      let q = run_of(at, last);
      keep_last(chunk, 8u * run, 2u, q.even);
      keep_last(chunk, 8u * run + 1u, 2u, q.odd);
    }
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
  let planes_first = planes(channel);
  let planes_last = planes(channel + 4u);
  for (var n = first; n < end; n++) {
    var chunk: Chunk;
    let column = n * CHUNK_LANES * RUNS;
    load8(&chunk, column, planes_first, planes_last, 0u);
    load8(&chunk, column, planes_first, planes_last, 1u);
    load8(&chunk, column, planes_first, planes_last, 2u);
    load8(&chunk, column, planes_first, planes_last, 3u);
    if (CHUNK_LANES > 4u) {
      load8(&chunk, column, planes_first, planes_last, 4u);
      load8(&chunk, column, planes_first, planes_last, 5u);
      load8(&chunk, column, planes_first, planes_last, 6u);
      load8(&chunk, column, planes_first, planes_last, 7u);
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

fn load4(chunk: ptr<function, Chunk>, column: u32, first: vec4<u32>, last: vec4<u32>, l: u32) {
  load_half(chunk, column, first, last, 2u * l);
  load_half(chunk, column, first, last, 2u * l + 1u);
}

// Four pixels of four channels: a column for each pixel.
fn square_of(at: u32, plane: vec4<u32>) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(
    unpack(x4[at + plane.x]), unpack(x4[at + plane.y]), unpack(x4[at + plane.z]), unpack(x4[at + plane.w]),
  ));
}

fn load_half(chunk: ptr<function, Chunk>, column: u32, first: vec4<u32>, last: vec4<u32>, half: u32) {
  for (var element = RUNS * half; element < RUNS * half + RUNS; element++) {
    let at = spot(column + element, dims.channels_in);
    keep_first(chunk, 4u * element, 1u, square_of(at, first));
    if (LANE_CHANNELS > 4u) {
      keep_last(chunk, 4u * element, 1u, square_of(at, last));
    }
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
  let planes_first = planes(channel);
  let planes_last = planes(channel + 4u);
  for (var n = first; n < end; n++) {
    var chunk: Chunk;
    let column = 2u * n * CHUNK_LANES * RUNS;
    load4(&chunk, column, planes_first, planes_last, 0u);
    load4(&chunk, column, planes_first, planes_last, 1u);
    load4(&chunk, column, planes_first, planes_last, 2u);
    load4(&chunk, column, planes_first, planes_last, 3u);
    if (CHUNK_LANES > 4u) {
      load4(&chunk, column, planes_first, planes_last, 4u);
      load4(&chunk, column, planes_first, planes_last, 5u);
      load4(&chunk, column, planes_first, planes_last, 6u);
      load4(&chunk, column, planes_first, planes_last, 7u);
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
