// Gradients of a convolution's weights and bias as a matrix product over pixels: the tiled variant.
//
//   partial  partial_w[split,o,c,r,s] = sum_p dy[n,o,i,j] x[n,c,stride i+r-pad,stride j+s-pad]
//            partial_b[split,o]       = sum_p dy[n,o,i,j]
//            over the pixels p = (n,i,j) of a split
//
// x          [batch, Ci, H, W]
// dy         [batch, Co, H', W']
// partial_w  [splits, Co, Ci, kernel, kernel]; row_sums.wgsl adds the splits
// partial_b  [splits, Co]
//
// The columns of the product are the (c,r,s) of a weight. A workgroup computes a tile of TILE_M
// rows o by TILE_N columns for the `chunk` pixels of a split (workgroup z), and an invocation ROWS
// rows by 4 columns of it. A step loads TILE_K pixels into workgroup memory. An invocation loads
// one of them, for the same rows and columns in every step. Its values for a step are loaded while
// the step before is computed. For the bias it adds up the values of dy that it loads.
//
// A vec4 of a tile in workgroup memory has rows or columns that are a quarter of the tile apart, so
// neighboring invocations store neighboring columns.
//
// Grid: (tiles of columns, tiles of rows, splits).
// FLOPs 2 batch H' W' Co Ci kernel^2; bytes at least one pass over x and dy.

struct Dims {
  batch: u32, channels_in: u32, height_in: u32, width_in: u32, channels_out: u32, height: u32, width: u32,
  pad: u32,
  chunk: u32,   // pixels of a split, a multiple of TILE_K
}

override KERNEL: u32;   // 1 or 3
override STRIDE: u32;   // 1 or 2
override TILE_M: u32;
override TILE_N: u32;
override ROWS: u32;     // 4 or 8: rows of an invocation
override M4 = TILE_M / 4u;
override N4 = TILE_N / 4u;
override GRID_M = TILE_M / ROWS;    // invocations with the same columns
override WORKGROUP = GRID_M * N4;
const TILE_K = 16u;
override PARTS = WORKGROUP / TILE_K;    // invocations that load the same pixel
const UNROLL = 8u;      // compilers unroll the loop over this many of TILE_K
// In vec4s. One more than needed, so that lanes that store a column use different memory banks.
override LEFT_ROW = M4 + 1u;
override RIGHT_ROW = N4 + 1u;

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial_w: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial_b: array<f32>;

var<workgroup> left: array<vec4<f32>, LEFT_ROW * TILE_K>;      // [pixel][o]
var<workgroup> right: array<vec4<f32>, RIGHT_ROW * TILE_K>;    // [pixel][c,r,s]

// The pixel that an invocation loads: its number, its row and column in the image, and its indices
// in channel 0 of dy and x. The padding is not yet subtracted from the index in x.
struct Pixel { number: u32, row: u32, column: u32, dy: u32, x: u32 }

// What TILE_K more pixels add to a Pixel, and what the ends of a row and of an image add.
struct Move { row: u32, column: u32, dy: u32, x: u32, row_x: u32, image_dy: u32, image_x: u32 }

// Four columns of the product, N4 apart: what they add to an index of x, and the bits of their
// taps.
struct Columns { at: vec4<u32>, tap: vec4<u32> }

// What an invocation loads of a pixel: rows of dy, by their distance from channel 0, and columns.
struct Loads { rows0: vec4<u32>, rows1: vec4<u32>, columns0: Columns, columns1: Columns }

// The values of a step that an invocation loads.
struct Loaded { d0: vec4<f32>, d1: vec4<f32>, x0: vec4<f32>, x1: vec4<f32>, live: bool, taps: u32 }

// The sums of the values of dy that an invocation loads.
struct Sums { d0: vec4<f32>, d1: vec4<f32> }

// Four columns of ROWS rows of the product. Those of r0 to r3 are M4 apart; those of r4 to r7 are
// GRID_M later.
struct Block {
  r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>,
  r4: vec4<f32>, r5: vec4<f32>, r6: vec4<f32>, r7: vec4<f32>,
}

fn pixel_at(number: u32) -> Pixel {
  let area = dims.height * dims.width;
  let image = number / area;
  let at = number % area;
  let row = at / dims.width;
  let column = at % dims.width;
  let plane = image * dims.channels_in * dims.height_in;
  return Pixel(
    number, row, column, image * dims.channels_out * area + at, (plane + STRIDE * row) * dims.width_in + STRIDE * column,
  );
}

fn moves() -> Move {
  let area = dims.height * dims.width;
  let images = TILE_K / area;
  let row = TILE_K % area / dims.width;
  let column = TILE_K % area % dims.width;
  let image_x = dims.channels_in * dims.height_in * dims.width_in;
  return Move(
    row, column,
    images * dims.channels_out * area + TILE_K % area, images * image_x + STRIDE * (row * dims.width_in + column),
    STRIDE * (dims.width_in - dims.width),
    (dims.channels_out - 1u) * area, image_x - STRIDE * dims.height * dims.width_in,
  );
}

fn moved(p: Pixel, by: Move) -> Pixel {
  let past = p.column + by.column >= dims.width;
  let column = p.column + by.column - select(0u, dims.width, past);
  let down = p.row + by.row + u32(past);
  let over = down >= dims.height;
  let row = down - select(0u, dims.height, over);
  return Pixel(
    p.number + TILE_K, row, column, p.dy + by.dy + select(0u, by.image_dy, over),
    p.x + by.x + select(0u, by.row_x, past) + select(0u, by.image_x, over),
  );
}

// A bit for each tap that lies in the image of x: bit r KERNEL + s. The tap in the middle always
// does. A coordinate below zero is a large number.
fn taps_inside(p: Pixel) -> u32 {
  if (KERNEL == 1u) {
    return 1u;
  }
  let y = STRIDE * p.row - dims.pad;
  let x = STRIDE * p.column - dims.pad;
  let rows = select(0u, 7u, y < dims.height_in) | 56u | select(0u, 448u, y + 2u < dims.height_in);
  return rows & (select(0u, 73u, x < dims.width_in) | 146u | select(0u, 292u, x + 2u < dims.width_in));
}

// The columns from `first` on. A column past the last one repeats it.
fn columns_at(first: u32) -> Columns {
  let area = KERNEL * KERNEL;
  let number = min(first + N4 * vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(dims.channels_in * area - 1u));
  let tap = number % area;
  let row = number / area * dims.height_in + tap / KERNEL - dims.pad;
  return Columns(row * dims.width_in + tap % KERNEL - dims.pad, vec4<u32>(1u) << tap);
}

fn load_dy(rows: vec4<u32>, at: u32) -> vec4<f32> {
  let i = rows + at;
  return vec4<f32>(dy[i.x], dy[i.y], dy[i.z], dy[i.w]);
}

// A tap outside of the image gets another element of x; zero is written to workgroup memory.
fn load_x(columns: Columns, at: u32) -> vec4<f32> {
  var i = columns.at + at;
  if (KERNEL > 1u) {
    let size = dims.batch * dims.channels_in * dims.height_in * dims.width_in;
    i = min(i, vec4<u32>(size - 1u));
  }
  return vec4<f32>(x[i.x], x[i.y], x[i.z], x[i.w]);
}

fn keep_x(columns: Columns, v: vec4<f32>, taps: u32, place: u32) {
  right[place] = select(vec4<f32>(0.0), v, (columns.tap & vec4<u32>(taps)) != vec4<u32>(0u));
}

fn load(loads: Loads, p: Pixel, end: u32) -> Loaded {
  let live = p.number < end;
  let at_dy = select(0u, p.dy, live);
  let at_x = select(0u, p.x, live);
  var v: Loaded;
  v.live = live;
  v.taps = select(0u, taps_inside(p), live);
  v.d0 = load_dy(loads.rows0, at_dy);
  if (PARTS < M4) {
    v.d1 = load_dy(loads.rows1, at_dy);
  }
  v.x0 = load_x(loads.columns0, at_x);
  if (PARTS < N4) {
    v.x1 = load_x(loads.columns1, at_x);
  }
  return v;
}

// Writes the values of a step to workgroup memory, and adds those of dy to the sums. Only here are
// they used, so an invocation does not wait for them before.
fn keep(loads: Loads, v: Loaded, k: u32, part: u32, sums: Sums) -> Sums {
  let d0 = select(vec4<f32>(0.0), v.d0, v.live);
  let d1 = select(vec4<f32>(0.0), v.d1, v.live);
  if (PARTS <= M4 || part < M4) {
    left[k * LEFT_ROW + part] = d0;
  }
  if (PARTS < M4) {
    left[k * LEFT_ROW + part + PARTS] = d1;
  }
  keep_x(loads.columns0, v.x0, v.taps, k * RIGHT_ROW + part);
  if (PARTS < N4) {
    keep_x(loads.columns1, v.x1, v.taps, k * RIGHT_ROW + part + PARTS);
  }
  return Sums(sums.d0 + d0, sums.d1 + d1);
}

@compute @workgroup_size(WORKGROUP)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let area = dims.height * dims.width;
  let begin = group.z * dims.chunk;
  let end = min(begin + dims.chunk, dims.batch * area);

  // This invocation loads pixel k of a step for the quads `part` and `part + PARTS` of both tiles.
  let k = index % TILE_K;
  let part = index / TILE_K;
  let o = group.y * TILE_M + part + M4 * vec4<u32>(0u, 1u, 2u, 3u);
  let last = vec4<u32>(dims.channels_out - 1u);
  let first_column = group.x * TILE_N + part;
  let loads = Loads(
    min(o, last) * area, min(o + PARTS, last) * area, columns_at(first_column), columns_at(first_column + PARTS),
  );
  let by = moves();
  var pixel = pixel_at(begin + k);
  var sums = keep(loads, load(loads, pixel, end), k, part, Sums());

  // It computes this row and this column, in units of 4.
  let row = index / N4;
  let column = index % N4;
  var tile: Block;
  for (var first = begin; first < end; first += TILE_K) {
    workgroupBarrier();
    var next: Loaded;
    if (first + TILE_K < end) {
      pixel = moved(pixel, by);
      next = load(loads, pixel, end);
    }
    for (var first_i = 0u; first_i < TILE_K; first_i += UNROLL) {
      for (var j = 0u; j < UNROLL; j++) {
        let i = first_i + j;
        let r = right[i * RIGHT_ROW + column];
        let a = left[i * LEFT_ROW + row];
        tile.r0 += a.x * r;
        tile.r1 += a.y * r;
        tile.r2 += a.z * r;
        tile.r3 += a.w * r;
        if (ROWS == 8u) {
          let b = left[i * LEFT_ROW + row + GRID_M];
          tile.r4 += b.x * r;
          tile.r5 += b.y * r;
          tile.r6 += b.z * r;
          tile.r7 += b.w * r;
        }
      }
    }
    workgroupBarrier();
    if (first + TILE_K < end) {
      sums = keep(loads, next, k, part, sums);
    }
  }
  let count = dims.channels_in * KERNEL * KERNEL;
  let n = group.x * TILE_N + column;
  let channel = group.y * TILE_M + row;
  put_row(group.z, channel, n, count, tile.r0);
  put_row(group.z, channel + M4, n, count, tile.r1);
  put_row(group.z, channel + 2u * M4, n, count, tile.r2);
  put_row(group.z, channel + 3u * M4, n, count, tile.r3);
  if (ROWS == 8u) {
    put_row(group.z, channel + GRID_M, n, count, tile.r4);
    put_row(group.z, channel + GRID_M + M4, n, count, tile.r5);
    put_row(group.z, channel + GRID_M + 2u * M4, n, count, tile.r6);
    put_row(group.z, channel + GRID_M + 3u * M4, n, count, tile.r7);
  }

  // The bias: the sums of the pixels k, from one of the workgroups with these rows.
  if (group.x == 0u) {
    if (PARTS <= M4 || part < M4) {
      left[k * LEFT_ROW + part] = sums.d0;
    }
    if (PARTS < M4) {
      left[k * LEFT_ROW + part + PARTS] = sums.d1;
    }
    workgroupBarrier();
    if (index < M4) {
      var sum: vec4<f32>;
      for (var i = 0u; i < TILE_K; i++) {
        sum += left[i * LEFT_ROW + index];
      }
      let first = group.y * TILE_M + index;
      put_bias(group.z, first, sum.x);
      put_bias(group.z, first + M4, sum.y);
      put_bias(group.z, first + 2u * M4, sum.z);
      put_bias(group.z, first + 3u * M4, sum.w);
    }
  }
}

fn put_bias(split: u32, o: u32, v: f32) {
  if (o < dims.channels_out) {
    partial_b[split * dims.channels_out + o] = v;
  }
}

fn put_row(split: u32, o: u32, n: u32, count: u32, v: vec4<f32>) {
  if (o < dims.channels_out) {
    let at = (split * dims.channels_out + o) * count + n;
    put(at, v.x, n < count);
    put(at + N4, v.y, n + N4 < count);
    put(at + 2u * N4, v.z, n + 2u * N4 < count);
    put(at + 3u * N4, v.w, n + 3u * N4 < count);
  }
}

fn put(at: u32, v: f32, live: bool) {
  if (live) {
    partial_w[at] = v;
  }
}
