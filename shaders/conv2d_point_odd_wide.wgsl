// Convolution with a kernel of 1 x 1 for small images of any number of pixels, with elements of 64
// bits. An element holds 8 numbers. The planes of channels start anywhere in an element, so the
// kernels shift the numbers that they load and store.
//
//   convolve  result[n,m,p] (+)= bias[m] + sum_k weights[m,k] source[n,k,p]
//             forward; with the transposed weights the gradient of x
//   partial   partial_w[split,o,c] = sum_{n,p} dy[n,o,p] x[n,c,p]
//             partial_b[split,o] = sum_{n,p} dy[n,o,p]
//
// source, x    [batch, channels_in, PIXELS]
// result, dy   [batch, channels_out, PIXELS]
// weights      [channels_out, 8 row], as in conv2d_point_wide.wgsl
// bias         [channels_out]; read if biased > 0
// partial_w    [splits, blocks, channels_out, L, 8], partial_b [splits, channels_out]: as in
//              conv2d_point_weight_wide.wgsl, whose `sum` adds the splits
//
// The numbers of channels must be multiples of 8. So images start with an element, and a plane
// starts at number (PIXELS channel) % 8 of an element. A window is 8 neighboring pixels of a plane,
// or fewer at its end. The elements that a plane touches are at most WINDOWS, which must be at most
// L. One workgroup is one subgroup. It has IMAGES images, and a lane for each window of them.
// conv2d_point_wide.wgsl tells why no sum and no pixel is carried by a loop.
//
// convolve: a lane loads one element of each channel of a chunk, and receives the next element from
// the next lane. Then the workgroup computes one row of weights after the other. An element that
// two rows share is stored with the second one. Grid (groups of IMAGES images, folded into x and y;
// rows of weights, z). FLOPs 2 batch PIXELS channels_in channels_out, and those of the lanes' other
// numbers: 64 instead of 49 for 7x7. Bytes 4 batch PIXELS (z channels_in +
// (2 chunks - 1) channels_out).
//
// partial: a lane owns LANE_CHANNELS channels of x, and L lanes are a block. A chunk has all pixels
// of RUNS groups of IMAGES images. The workgroup computes one row of dy after the other. Grid
// (blocks, splits); a split owns a range of chunks. FLOPs 2 batch PIXELS channels_in channels_out.
// Bytes 4 batch PIXELS (channels_in + blocks channels_out).

// row      elements in a row of weights, a multiple of CHUNK_LANES
// rows     rows of weights in a workgroup, a multiple of 8
struct Dims {
  batch: u32,
  channels_in: u32,
  channels_out: u32,
  row: u32,
  rows: u32,
  biased: u32,
  add: u32,
  splits: u32,
}

override PIXELS: u32;
override CHUNK_LANES: u32;   // 4 or 8, and at most L

override WINDOWS = (PIXELS + 14u) / 8u;
override IMAGES = L / WINDOWS;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> source: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> result: array<vec4<u64>>;

// Eight numbers in the order of memory.
struct Eight { first: vec4<f32>, last: vec4<f32> }

fn eight(v: vec4<u64>) -> Eight {
  let a = even(v);
  let b = odd(v);
  return Eight(vec4<f32>(a.x, b.x, a.y, b.y), vec4<f32>(a.z, b.z, a.w, b.w));
}

// Eight numbers of the 16 of two elements, from number 4 half + rest on. The rest is below 4.
fn shift_left(low: Eight, high: Eight, half: bool, rest: u32) -> Eight {
  let two = rest >= 2u;
  let one = rest % 2u == 1u;
  let a = select(low.first, low.last, half);
  let b = select(low.last, high.first, half);
  let c = select(high.first, high.last, half);
  let d = select(a, vec4<f32>(a.zw, b.xy), two);
  let e = select(b, vec4<f32>(b.zw, c.xy), two);
  let f = select(c.x, c.z, two);
  return Eight(
    select(d, vec4<f32>(d.yzw, e.x), one),
    select(e, vec4<f32>(e.yzw, f), one),
  );
}

// Eight numbers of the 16 of two elements, from number 8 - shift on.
fn shift_right(low: Eight, high: Eight, shift: u32) -> Eight {
  let four = shift >= 4u;
  let two = shift % 4u >= 2u;
  let one = shift % 2u == 1u;
  let a = select(low.last, low.first, four);
  let b = select(high.first, low.last, four);
  let c = select(high.last, high.first, four);
  let d = select(a.w, a.y, two);
  let e = select(b, vec4<f32>(a.zw, b.xy), two);
  let f = select(c, vec4<f32>(b.zw, c.xy), two);
  return Eight(
    select(e, vec4<f32>(d, e.xyz), one),
    select(f, vec4<f32>(e.w, f.xyz), one),
  );
}

fn shuffle(v: Eight, lane: u32) -> Eight {
  return Eight(subgroupShuffle(v.first, lane), subgroupShuffle(v.last, lane));
}

// The numbers of a window that belong to pixels of the plane; zero instead of the others.
fn cut(v: Eight, window: u32) -> Eight {
  let room = vec4<u32>(max(PIXELS, 8u * window) - 8u * window);
  let zero = vec4<f32>();
  return Eight(
    select(zero, v.first, vec4<u32>(0u, 1u, 2u, 3u) < room),
    select(zero, v.last, vec4<u32>(4u, 5u, 6u, 7u) < room),
  );
}

// The lane's window of a chunk: [channel][half]. It must consist of separate variables, so the
// driver must unroll every loop over it. The prelude (outer_subgroup.wgsl) says when it does.
alias Chunk = array<vec4<f32>, 128>;

// Adds channels 8 l + j of all lanes l. `weight` is that of channel 8 l + j in lane l.
fn add_channels(sums: ptr<function, Eight>, chunk: ptr<function, Chunk>, j: u32, weight: f32) {
  for (var l = 0u; l < CHUNK_LANES; l++) {
    let w = subgroupShuffle(weight, l);
    (*sums).first += w * (*chunk)[2u * (8u * l + j)];
    (*sums).last += w * (*chunk)[2u * (8u * l + j) + 1u];
  }
}

// Adds all channels of a chunk. `w` has the weights of channels 8 l to 8 l + 7 in lane l.
fn add_chunk(sums: ptr<function, Eight>, chunk: ptr<function, Chunk>, w: vec4<u64>) {
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

// Loads channel 8 l + k of a chunk. `at`: the lane's element in the plane of channel 8 l.
fn load_channel(chunk: ptr<function, Chunk>, index: u32, at: u32, l: u32, k: u32) {
  let shift = k * PIXELS % 8u;
  // Lanes without a window would read past the end.
  let end = dims.batch * dims.channels_in / 8u * PIXELS;
  let v = eight(source[min(at + k * PIXELS / 8u, end - 1u)]);
  let p = shift_left(v, shuffle(v, (index + 1u) % L), shift >= 4u, shift % 4u);
  (*chunk)[2u * (8u * l + k)] = p.first;
  (*chunk)[2u * (8u * l + k) + 1u] = p.last;
}

// Loads channels 8 l to 8 l + 7 of the chunk from channel 8 first on. Past the end the last ones
// are repeated. `at`: the lane's element in channel 0.
fn load_channels(chunk: ptr<function, Chunk>, index: u32, at: u32, first: u32, l: u32) {
  let i = at + min(first + l, dims.channels_in / 8u - 1u) * PIXELS;
  load_channel(chunk, index, i, l, 0u);
  load_channel(chunk, index, i, l, 1u);
  load_channel(chunk, index, i, l, 2u);
  load_channel(chunk, index, i, l, 3u);
  load_channel(chunk, index, i, l, 4u);
  load_channel(chunk, index, i, l, 5u);
  load_channel(chunk, index, i, l, 6u);
  load_channel(chunk, index, i, l, 7u);
}

// The invocation does not take a Lane: if one member of a struct differs between lanes, Tint
// assumes that all members do, and rejects subgroup functions in a loop that depends on one.
@compute @workgroup_size(L)
fn convolve(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let image = workgroup_index(Lane(group, groups, index)) * IMAGES + index / WINDOWS;
  let window = index % WINDOWS;
  let live = image < dims.batch && index < IMAGES * WINDOWS;
  let mine = min(image, dims.batch - 1u);
  let at = mine * (dims.channels_in / 8u) * PIXELS + window;
  let top = group.z * dims.rows;
  let end = min(top + dims.rows, dims.channels_out);
  for (var first = 0u; first < dims.row; first += CHUNK_LANES) {
    var chunk: Chunk;
    load_channels(&chunk, index, at, first, 0u);
    load_channels(&chunk, index, at, first, 1u);
    load_channels(&chunk, index, at, first, 2u);
    load_channels(&chunk, index, at, first, 3u);
    if (CHUNK_LANES > 4u) {
      load_channels(&chunk, index, at, first, 4u);
      load_channels(&chunk, index, at, first, 5u);
      load_channels(&chunk, index, at, first, 6u);
      load_channels(&chunk, index, at, first, 7u);
    }
    let biased = dims.biased > 0u && first == 0u;
    let adds = dims.add > 0u || first > 0u;
    let to = mine * (dims.channels_out / 8u) * PIXELS + window;
    var rest: Eight;   // the numbers of the previous row in the first element of this one
    for (var m = top; m < end; m++) {
      let w = row_weights(index, m, first);
      var sums: Eight;
      if (biased) {
        let b = vec4<f32>(row_bias(index, m));
        sums = Eight(b, b);
      }
      add_chunk(&sums, &chunk, w);
      let v = cut(sums, window);
      var before = shuffle(v, (index + L - 1u) % L);
      if (window == 0u) {
        before = Eight();
      }
      let shift = m * PIXELS % 8u;
      var e = shift_right(before, v, shift);
      e.first += rest.first;
      e.last += rest.last;
      let whole = (shift + PIXELS) / 8u;   // elements that end in this row
      let next = shuffle(e, (index + whole) % L);
      let shares = window == 0u && (shift + PIXELS) % 8u > 0u;
      rest.first = select(vec4<f32>(), next.first, shares);
      rest.last = select(vec4<f32>(), next.last, shares);
      if (live && window < whole) {
        let i = to + m * PIXELS / 8u;
        if (adds) {
          let previous = eight(result[i]);
          e.first += previous.first;
          e.last += previous.last;
        }
        result[i] = interleave(vec4<f32>(e.first.xz, e.last.xz), vec4<f32>(e.first.yw, e.last.yw));
      }
    }
  }
}

override LANE_CHANNELS: u32;   // 4 or 8

@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<u64>>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<vec4<u64>>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

override RUNS = 8u / LANE_CHANNELS;   // groups of images in a chunk
override BLOCK = L * LANE_CHANNELS;   // channels of a workgroup

// The lane's channels of a chunk of x: vectors for each pixel of each window, the windows in the
// order of the lanes of dy. Like Chunk, it must consist of separate variables.
struct Columns {
  first: array<vec4<f32>, 16u * L>,   // channels 0 to 3
  last: array<vec4<f32>, 8u * L>,     // channels 4 to 7 of 8
}

// The sums of the lane's channels.
struct Sums { first: vec4<f32>, last: vec4<f32> }

// Whether window l of a group of images has a pixel j.
fn is_pixel(l: u32, j: u32) -> bool {
  return l < IMAGES * WINDOWS && 8u * (l % WINDOWS) + j < PIXELS;
}

// Adds the products with pixel j of all windows of a group. `pixel` is that pixel of dy in the
// window's lane.
fn add_pixels(sums: ptr<function, Sums>, columns: ptr<function, Columns>, run: u32, j: u32, pixel: f32) {
  for (var l = 0u; l < L; l++) {
    if (is_pixel(l, j)) {
      let d = subgroupShuffle(pixel, l);
      let i = 8u * (run * L + l) + j;
      (*sums).first += d * (*columns).first[i];
      if (LANE_CHANNELS > 4u) {
        (*sums).last += d * (*columns).last[i];
      }
    }
  }
}

fn add_group(sums: ptr<function, Sums>, columns: ptr<function, Columns>, run: u32, v: Eight) {
  add_pixels(sums, columns, run, 0u, v.first.x);
  add_pixels(sums, columns, run, 1u, v.first.y);
  add_pixels(sums, columns, run, 2u, v.first.z);
  add_pixels(sums, columns, run, 3u, v.first.w);
  add_pixels(sums, columns, run, 4u, v.last.x);
  add_pixels(sums, columns, run, 5u, v.last.y);
  add_pixels(sums, columns, run, 6u, v.last.z);
  add_pixels(sums, columns, run, 7u, v.last.w);
}

// Pixels of four channels of x, as they are in memory.
struct Quad { a: Eight, b: Eight, c: Eight, d: Eight }

// An element of x. Past the end the last one is repeated.
fn element(i: u32) -> Eight {
  return eight(x[min(i, dims.batch * dims.channels_in / 8u * PIXELS - 1u)]);
}

// Element `window` of the planes of channels r to r + 3. `at`: index of the lane's first number.
fn quad_of(at: u32, r: u32, window: u32) -> Quad {
  return Quad(
    element((at + r * PIXELS) / 8u + window), element((at + (r + 1u) * PIXELS) / 8u + window),
    element((at + (r + 2u) * PIXELS) / 8u + window), element((at + (r + 3u) * PIXELS) / 8u + window),
  );
}

// The lane's numbers of channel r from element `low` on. The channels of a lane start with an
// element, or with its middle if they are 4.
fn channel_of(low: Eight, high: Eight, at: u32, r: u32) -> Eight {
  let start = select(at % 8u, 0u, LANE_CHANNELS > 4u);
  return shift_left(low, high, (start + r * PIXELS % 8u) % 8u >= 4u, r * PIXELS % 4u);
}

// Stores pixels i to i + 3 of four channels.
fn keep(columns: ptr<function, Columns>, i: u32, r: u32, pixels: mat4x4<f32>) {
  if (r > 0u) {
    (*columns).last[i] = pixels[0];
    (*columns).last[i + 1u] = pixels[1];
    (*columns).last[i + 2u] = pixels[2];
    (*columns).last[i + 3u] = pixels[3];
  } else {
    (*columns).first[i] = pixels[0];
    (*columns).first[i + 1u] = pixels[1];
    (*columns).first[i + 2u] = pixels[2];
    (*columns).first[i + 3u] = pixels[3];
  }
}

// Index of the lane's first number of x in an image. Past the end the last image is repeated.
fn lane_start(image: u32, channel: u32) -> u32 {
  return (min(image, dims.batch - 1u) * dims.channels_in + channel) * PIXELS;
}

// Loads window l of a group of images for channels r to r + 3. `low`: the first element
// of the window. On return it is the first element of the next window.
fn load_window(columns: ptr<function, Columns>, low: ptr<function, Quad>, place: Place, r: u32, l: u32) {
  if (l < IMAGES * WINDOWS) {
    let at = lane_start(place.image + l / WINDOWS, place.channel);
    let window = l % WINDOWS;
    if (window == 0u) {
      *low = quad_of(at, r, 0u);
    }
    var high: Quad;
    if (window + 1u < WINDOWS) {
      high = quad_of(at, r, window + 1u);
    }
    let a = channel_of((*low).a, high.a, at, r);
    let b = channel_of((*low).b, high.b, at, r + 1u);
    let c = channel_of((*low).c, high.c, at, r + 2u);
    let d = channel_of((*low).d, high.d, at, r + 3u);
    let i = 8u * (place.run * L + l);
    keep(columns, i, r, transpose(mat4x4<f32>(a.first, b.first, c.first, d.first)));
    keep(columns, i + 4u, r, transpose(mat4x4<f32>(a.last, b.last, c.last, d.last)));
    *low = high;
  }
}

// Where the lane's part of a group of images is: a run of the chunk, the first image, and the
// lane's first channel.
struct Place { run: u32, image: u32, channel: u32 }

// Loads windows l to l + 3.
fn load_windows(columns: ptr<function, Columns>, low: ptr<function, Quad>, place: Place, r: u32, l: u32) {
  load_window(columns, low, place, r, l);
  load_window(columns, low, place, r, l + 1u);
  load_window(columns, low, place, r, l + 2u);
  load_window(columns, low, place, r, l + 3u);
}

// Loads a group of images for channels r to r + 3.
fn load_group(columns: ptr<function, Columns>, place: Place, r: u32) {
  var low: Quad;
  load_windows(columns, &low, place, r, 0u);
  if (L > 4u) {
    load_windows(columns, &low, place, r, 4u);
  }
  if (L > 8u) {
    load_windows(columns, &low, place, r, 8u);
    load_windows(columns, &low, place, r, 12u);
  }
}

// The sums of the previous chunks.
fn sums_before(at: u32) -> Sums {
  let v = eight(partial_w[at]);
  return Sums(v.first, v.last);
}

fn save(at: u32, sums: Sums) {
  let a = sums.first;
  let b = sums.last;
  partial_w[at] = interleave(vec4<f32>(a.xz, b.xz), vec4<f32>(a.yw, b.yw));
}

// The lane's window of row o of dy: zero past the end, and undefined past the plane.
fn row_pixels(index: u32, image: u32, o: u32) -> Eight {
  let mine = image + index / WINDOWS;
  var v: vec4<u64>;
  if (mine < dims.batch && index < IMAGES * WINDOWS) {
    // The last window of the last plane may be past the end.
    let last = dims.batch * dims.channels_out / 8u * PIXELS - 1u;
    v = dy[min((mine * dims.channels_out + o) * PIXELS / 8u + index % WINDOWS, last)];
  }
  let low = eight(v);
  let shift = o * PIXELS % 8u;
  return shift_left(low, shuffle(low, (index + 1u) % L), shift >= 4u, shift % 4u);
}

// The sum of a window's pixels.
fn total(v: Eight, window: u32) -> f32 {
  let mine = cut(v, window);
  let sums = mine.first + mine.last;
  return sums.x + sums.y + sums.z + sums.w;
}

@compute @workgroup_size(L)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let block = group.x;
  let split = group.y;
  let blocks = (dims.channels_in + BLOCK - 1u) / BLOCK;
  let chunks = (dims.batch + IMAGES * RUNS - 1u) / (IMAGES * RUNS);
  let first = split * chunks / dims.splits;
  let end = (split + 1u) * chunks / dims.splits;
  let channel = min(block * BLOCK + index * LANE_CHANNELS, dims.channels_in - LANE_CHANNELS);
  for (var n = first; n < end; n++) {
    var columns: Columns;
    let image = n * IMAGES * RUNS;
    load_group(&columns, Place(0u, image, channel), 0u);
    if (LANE_CHANNELS > 4u) {
      load_group(&columns, Place(0u, image, channel), 4u);
    } else {
      load_group(&columns, Place(1u, image + IMAGES, channel), 0u);
    }
    var to = (split * blocks + block) * dims.channels_out * L + index;
    for (var o = 0u; o < dims.channels_out; o++) {
      var sums: Sums;
      if (n > first) {
        sums = sums_before(to);
      }
      let v = row_pixels(index, image, o);
      add_group(&sums, &columns, 0u, v);
      var mine = total(v, index % WINDOWS);
      if (RUNS > 1u) {
        let v = row_pixels(index, image + IMAGES, o);
        add_group(&sums, &columns, 1u, v);
        mine += total(v, index % WINDOWS);
      }
      save(to, sums);
      var row = 0.0;
      for (var l = 0u; l < IMAGES * WINDOWS; l++) {
        row += subgroupShuffle(mine, l);
      }
      if (block == 0u && index == 0u) {
        let i = split * dims.channels_out + o;
        if (n > first) {
          row += partial_b[i];
        }
        partial_b[i] = row;
      }
      to += L;
    }
  }
}
