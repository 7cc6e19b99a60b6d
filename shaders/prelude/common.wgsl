// What every shader is linked with: where an invocation stands, and the values that change each step.
//
// A dispatch of n workgroups is folded into (min(n, 65535), ceil(n / 65535)), because a grid dimension ends there; `workgroup_index` unfolds
// it, and may exceed n - 1 in the last row, so a kernel compares it with its own count.
// Storage of every tensor is padded to a multiple of 16 bytes. A kernel may read the padding (its content is undefined) and, except in
// gradients of parameters, write it: so elementwise kernels treat a tensor as array<vec4<f32>>.

struct Lane {
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
}

fn workgroup_index(lane: Lane) -> u32 {
  return lane.workgroup.x + lane.workgroup.y * lane.workgroups.x;
}

// Workgroup size of elementwise kernels, and the number of an invocation in such a dispatch.
const FLAT = 64u;

fn flat_index(lane: Lane) -> u32 {
  return workgroup_index(lane) * FLAT + lane.index;
}

// The only data that changes between two runs of a program: one write of a few bytes.
struct Step {
  seed_low: u32,            // key of the random generator
  seed_high: u32,
  index: u32,               // training step, or denoising step of a sampler
  epoch: u32,               // how often the data set was passed
  position: u32,            // images of this epoch seen before this batch
  first_image: u32,         // number of the batch's first image: a sample depends on it, not on its batch
  learning_rate: f32,
  first_correction: f32,    // 1 / (1 - beta1^n), 1 / (1 - beta2^n): Adam's bias corrections
  second_correction: f32,
  ema_decay: f32,       // of the moving average of the parameters
  guidance: f32,            // scale of classifier-free guidance
  reserved: f32,
}

@group(1) @binding(0) var<uniform> step: Step;
