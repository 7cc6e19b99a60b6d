// loss[b] = log(sum over k of exp(x[b, k])) - x[b, l_b]
// dx[b, k] = dy[b] (softmax(x[b])[k] - (k == l_b))
// A label past the end means the last class.
//
// With m the largest logit and rest = sum of exp(x[k] - m) over k != l:
//   loss = log1p(rest) if the label has the largest logit, else
//          m - x[l] + log(rest + exp(x[l] - m))
//   gradient at the label = -rest / sum
// So no exponential overflows, and a loss near zero and its gradient keep their digits.
//
// x, dx     [B, K]: logits
// labels    [B] u32: l
// loss, dy  [B]
// One invocation per image, because classes are few.
// FLOPs about 4 B K, backward 5 B K; bytes 4 B K, backward 12 B K.

override CLASSES: u32;   // K

struct Dims { batch: u32 }   // B

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<uniform> dims: Dims;

// (m, rest) of an image.
fn largest_and_rest(b: u32, label: u32) -> vec2<f32> {
  let first = b * CLASSES;
  var m = x[first];
  for (var k = 1u; k < CLASSES; k++) {
    m = max(m, x[first + k]);
  }
  var rest = 0.0;
  for (var k = 0u; k < CLASSES; k++) {
    if (k != label) {
      rest += exp(x[first + k] - m);
    }
  }
  return vec2<f32>(m, rest);
}

@group(0) @binding(2) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(FLAT)
fn forward(lane: Lane) {
  let b = flat_index(lane);
  if (b < dims.batch) {
    let label = min(labels[b], CLASSES - 1u);
    let found = largest_and_rest(b, label);
    let below = found.x - x[b * CLASSES + label];
    if (below > 0.0) {
      loss[b] = below + log(found.y + exp(-below));
    } else {
      loss[b] = log1p(found.y);
    }
  }
}

override ADD: bool;

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let b = flat_index(lane);
  if (b < dims.batch) {
    let label = min(labels[b], CLASSES - 1u);
    let found = largest_and_rest(b, label);
    let first = b * CLASSES;
    let scale = dy[b] / (found.y + exp(x[first + label] - found.x));
    for (var k = 0u; k < CLASSES; k++) {
      var slope = -found.y;
      if (k != label) {
        slope = exp(x[first + k] - found.x);
      }
      if (ADD) {
        dx[first + k] += slope * scale;
      } else {
        dx[first + k] = slope * scale;
      }
    }
  }
}
