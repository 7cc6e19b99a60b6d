// y[p, h, w] = max(x[p, 2h, 2w], x[p, 2h, 2w + 1], x[p, 2h + 1, 2w], x[p, 2h + 1, 2w + 1]): the
// maximum of blocks of 2 x 2.
// dx = dy at the maximum of a block, else 0. The backward pass finds the maximum again from x; of
// equal elements it takes the first in the order above. dx is 0 in a last odd row or column, which
// no block contains.
//
// x, dx  [B, C, H, W]; p counts the B C planes
// y, dy  [B, C, H / 2, W / 2], rounded down
//
// All planes are one list of rows. If H is even and W is a multiple of 4, an invocation does two
// neighboring blocks, which are two vec4s of x. Otherwise (entry points `*_scalar`) it does one
// block; in the backward pass also the incomplete ones at the edges.
// For n elements of y: FLOPs 3 n; bytes 20 n, backward 36 n.

override WIDTH: u32;        // W
override HEIGHT: u32;       // H

struct Dims {
  length: u32,              // invocations
}

@group(0) @binding(3) var<uniform> dims: Dims;

// Index, in vec4s, of the upper row of unit i in x. The lower row is WIDTH / 4 further on.
fn block(i: u32) -> u32 {
  let units = WIDTH / 4u;
  return i + i / units * units;
}

// Index of the first of the largest elements.
fn first_of_largest(v: vec4<f32>) -> u32 {
  let m = max(max(v.x, v.y), max(v.z, v.w));
  return select(select(select(3u, 2u, v.z == m), 1u, v.y == m), 0u, v.x == m);
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec2<f32>>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let rows = max(x[block(i)], x[block(i) + WIDTH / 4u]);
    y[i] = max(rows.xz, rows.yw);
  }
}

@group(0) @binding(0) var<storage, read> x_scalar: array<f32>;
@group(0) @binding(1) var<storage, read_write> y_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn forward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let width = WIDTH / 2u;
  let height = HEIGHT / 2u;
  if (i < dims.length) {
    let row = i / width;
    let corner = (row / height * HEIGHT + row % height * 2u) * WIDTH + i % width * 2u;
    y_scalar[i] = max(
      max(x_scalar[corner], x_scalar[corner + 1u]),
      max(x_scalar[corner + WIDTH], x_scalar[corner + WIDTH + 1u]),
    );
  }
}

override ADD: bool;

@group(0) @binding(1) var<storage, read> dy: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let upper = block(i);
    let lower = upper + WIDTH / 4u;
    let places = vec4<u32>(0u, 1u, 2u, 3u);
    let left_place = vec4<u32>(first_of_largest(vec4<f32>(x[upper].xy, x[lower].xy)));
    let right_place = vec4<u32>(first_of_largest(vec4<f32>(x[upper].zw, x[lower].zw)));
    let left = select(vec4<f32>(), dy[i].xxxx, places == left_place);
    let right = select(vec4<f32>(), dy[i].yyyy, places == right_place);
    if (ADD) {
      dx[upper] += vec4<f32>(left.xy, right.xy);
      dx[lower] += vec4<f32>(left.zw, right.zw);
    } else {
      dx[upper] = vec4<f32>(left.xy, right.xy);
      dx[lower] = vec4<f32>(left.zw, right.zw);
    }
  }
}

@group(0) @binding(1) var<storage, read> dy_scalar: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx_scalar: array<f32>;

@compute @workgroup_size(FLAT)
fn backward_scalar(lane: Lane) {
  let i = flat_index(lane);
  let width = (WIDTH + 1u) / 2u;
  let height = (HEIGHT + 1u) / 2u;
  if (i < dims.length) {
    let plane = i / width / height;
    let h = i / width % height;
    let w = i % width;
    let corner = (plane * HEIGHT + 2u * h) * WIDTH + 2u * w;
    let rows = min(2u, HEIGHT - 2u * h);
    let columns = min(2u, WIDTH - 2u * w);
    var place = 0u;
    var gradient = 0.0;
    if (rows * columns == 4u) {
      place = first_of_largest(vec4<f32>(
        x_scalar[corner], x_scalar[corner + 1u], x_scalar[corner + WIDTH], x_scalar[corner + WIDTH + 1u],
      ));
      gradient = dy_scalar[(plane * (HEIGHT / 2u) + h) * (WIDTH / 2u) + w];
    }
    for (var k = 0u; k < 4u; k++) {
      let at = corner + k / 2u * WIDTH + k % 2u;
      if (k / 2u < rows && k % 2u < columns) {
        let value = select(0.0, gradient, k == place);
        if (ADD) {
          dx_scalar[at] += value;
        } else {
          dx_scalar[at] = value;
        }
      }
    }
  }
}
