// loss[b] = sum over i of log(1 + exp(l)) - p l,  p = (x + 1) / 2                      logits l, x in [-1, 1] [B, n]; loss [B], in nats
// The negative log-likelihood of pixels that are on with probability p under independent coins (Kingma and Welling 2014, appendix C.1).
// dl = dy[b] (sigmoid(l) - p)
// With w the probability of the outcome that the logit speaks against (1 - p if l > 0, else p), nothing cancels:
//   loss = |l| w + log(1 + exp(-|l|));  dl = sign(l) dy[b] (w - sigmoid(-|l|))
// Forward: one workgroup an image. Backward: one invocation an element. FLOPs about 24 B n; bytes 8 B n and 12 B n.

override ADD: bool;
override IMAGE_SIZE: u32;   // n

struct Dims { length: u32 }   // B n

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;

fn against(i: u32) -> f32 {
  return 0.5 + 0.5 * select(x[i], -x[i], logits[i] > 0.0);
}

@compute @workgroup_size(WG)
fn forward(lane: Lane) {
  let b = workgroup_index(lane);
  var sum = 0.0;
  for (var i = b * IMAGE_SIZE + lane.index; i < (b + 1u) * IMAGE_SIZE; i += WG) {
    let size = abs(logits[i]);
    sum += size * against(i) + softplus(-size);
  }
  let total = workgroup_sum(sum, lane);
  if (lane.index == 0u) {
    loss[b] = total;
  }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<uniform> dims: Dims;

@compute @workgroup_size(FLAT)
fn backward(lane: Lane) {
  let i = flat_index(lane);
  if (i < dims.length) {
    let size = against(i) - sigmoid(-abs(logits[i]));
    let slope = dy[i / IMAGE_SIZE] * select(-size, size, logits[i] > 0.0);
    dx[i] = select(slope, dx[i] + slope, ADD);
  }
}
