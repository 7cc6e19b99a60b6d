// loss[b] = sum over i of log(1 + exp(l)) - p l,  p = (x + 1) / 2
// dl = dy[b] (sigmoid(l) - p)
// The negative log-likelihood, in nats, of pixels that are 1 with probability p, under independent
// Bernoulli variables with logits l (Kingma and Welling 2014, appendix C.1).
//
// Let w be the probability of the outcome that the logit makes unlikely: 1 - p if l > 0, else p.
// Then nothing cancels in
//   loss = |l| w + log(1 + exp(-|l|));  dl = sign(l) dy[b] (w - sigmoid(-|l|))
//
// logits, x, dx  [B, n]: logits l, images in [-1, 1], gradient dl
// loss, dy       [B]
// forward: one workgroup per image. backward: one invocation per element.
// FLOPs about 24 B n each; bytes 8 B n forward, 12 B n backward.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

// w of element i.
fn against(i: u32) -> f32 {
  return 0.5 + 0.5 * select(x[i], -x[i], logits[i] > 0.0);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = min(workgroup_index(lane), dims.length / IMAGE_SIZE - 1u);
  var sum = 0.0;
  for (var i = b * IMAGE_SIZE + lane.index; i < (b + 1u) * IMAGE_SIZE; i += WG) {
    let size = abs(logits[i]);
    sum += size * against(i) + softplus(-size);
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u && workgroup_index(lane) == b) {
    loss[b] = total;
  }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let size = against(i) - sigmoid(-abs(logits[i]));
    let slope = dy[i / IMAGE_SIZE] * select(-size, size, logits[i] > 0.0);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
