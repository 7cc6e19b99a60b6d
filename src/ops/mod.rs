//! The operators. Each has a shader, a Rust file of the same name, and its name in a list.
//!
//! Functions and settings are exported from here: `use degrain::ops::{Conv2d, add, conv2d}`. The
//! module of an operator has its formula, shapes, gradient and an example.
//!
//! Tests, benches, profiler labels and the operator table follow from the list. To add an operator:
//! 1. Write `shaders/NAME.wgsl`: formula, shapes of all bindings, division of work, FLOPs and bytes
//!    at the top, then all entry points, forward and backward.
//! 2. Write `src/ops/NAME.rs`: a struct that implements [`Op`](crate::tape::Op), a function that
//!    applies it, and `OPERATOR`.
//! 3. Put NAME into the list in `src/ops/mod.rs`.
//!
//! `build.rs` generates `super::kernels::NAME` from the shader. It has a struct for each entry
//! point (`Forward`, `Backward` and so on). Its fields are the storage bindings (as `Tensor`), the
//! overrides without default and the members of the uniform `dims`, in lower case. The module also
//! has the scalar constants of the shader, such as `TILE`: Rust does not repeat them.
//!
//! A shader named `NAME_subgroup.wgsl` has the kernels of the subgroup variant. It is compiled only
//! for that variant and may use subgroup operations; every other shader must compile for both. The
//! Rust file `NAME.rs` chooses between them.

mod columns;
mod destination;
mod kernels;
mod linked;
mod normalized;
mod row_sums;
mod rows;

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*
        $(pub use $name::*;)*

        /// Name and description of every operator, in alphabetical order.
        pub static ALL: &[(&str, crate::tape::testing::Operator)] = &[$((stringify!($name), $name::OPERATOR)),*];
    };
}

operators! {
    adam,
    add,
    add_channels,
    affine,
    attention,
    batch_norm,
    bce_with_logits,
    concat,
    conv2d,
    cross_entropy,
    discretized_logistic,
    downsample,
    drop_label,
    dropout,
    duplicate,
    ema,
    embedding,
    fill,
    fourier_features,
    gather_batch,
    global_pool,
    gradient_norm,
    group_norm,
    guidance,
    importance_sampling,
    kl_normal,
    langevin,
    linear,
    log_step,
    matmul,
    max_pool,
    mse,
    pad,
    philox,
    q_sample,
    randn,
    relu,
    reparameterize,
    roofline,
    sample_indices,
    sampler_step,
    scale_shift,
    silu,
    slice,
    timesteps,
    upsample,
    vlb,
}

pub use kernels::SHADERS;
pub use linked::{Linked, linked};
