// Declarations that every shader is linked with: the position of an invocation, and the values that
// change each step. The other files of the prelude are linked after the shader in the same way.
//
// Conventions of all shaders:
// * A lane is an invocation of a workgroup. WG is the workgroup size of reductions, FLAT the
//   workgroup size of elementwise kernels.
// * n is the number of elements of the largest tensor unless the header says otherwise. Bytes count
//   each load and store of device memory once.
// * With the override ADD, a gradient is added to what its buffer holds; otherwise it replaces it.
// * A grid dimension ends at 65535 workgroups, so a dispatch of n workgroups is folded into
//   r = ceil(n / 65535) rows of ceil(n / r). `workgroup_index` undoes the folding. It may exceed
//   n - 1 in the last row, so a kernel must compare it with its own count. The build checks that
//   it does (build/folding.rs). With barriers, which every lane must reach, the workgroups past
//   the end repeat the last one and store nothing: `let b = min(workgroup_index(lane), n - 1u)`,
//   and later `if (workgroup_index(lane) == b)`.
// * The storage of every tensor is padded to a multiple of 16 bytes, so elementwise kernels may
//   treat a tensor as array<vec4<f32>>. A kernel may read the padding, whose content is undefined,
//   and may write it, except in gradients of parameters.

struct Lane {
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) workgroups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
}

fn workgroup_index(lane: Lane) -> u32 {
  return lane.workgroup.x + lane.workgroup.y * lane.workgroups.x;
}

// Workgroup size of elementwise kernels.
const FLAT = 64u;

// Number of an invocation in a dispatch of an elementwise kernel.
fn flat_index(lane: Lane) -> u32 {
  return workgroup_index(lane) * FLAT + lane.index;
}

// The same for a kernel whose grid is (workgroups of a piece, images, ...): the number of an
// invocation in its piece, which is folded into rows.
fn piece_index(lane: Lane, row: u32) -> u32 {
  return (lane.workgroup.x + row * lane.workgroups.x) * FLAT + lane.index;
}

// The only data that changes between two runs of a program. The host writes it before each run.
struct Step {
  seed_low: u32,            // the seed: key of the random generator
  seed_high: u32,
  index: u32,               // training step, or step of a sampler
  epoch: u32,               // completed passes over the data set
  position: u32,            // images of this epoch before this batch
  first_image: u32,         // number of the batch's first image; random numbers depend on it
  learning_rate: f32,
  first_correction: f32,    // Adam's bias correction 1 / (1 - beta1^n)
  second_correction: f32,   // 1 / (1 - beta2^n)
  ema_decay: f32,           // decay of the EMA of the parameters
  guidance: f32,            // scale of classifier-free guidance
  sampler_pass: u32,        // earlier passes through this step of a sampler: fresh noise in each
}

@group(1) @binding(0) var<uniform> step: Step;
