//! The operators. Each is a shader, a Rust file of the same name, and its name in the list below; tests, benches, profiler labels and the
//! README's table follow from that line.
//!
//! To add one: write `shaders/NAME.wgsl` (formula, shapes, who computes what, FLOPs and bytes at the top; all entry points, forward and
//! backward), write `src/ops/NAME.rs` (a struct that implements [`Op`](crate::tape::Op), a function that applies it, and `OPERATOR`), and
//! put NAME into the list. `build.rs` makes `super::kernels::NAME::{Forward, Backward, ...}`: one struct for each entry point, whose fields are
//! its storage bindings (as `Tensor`), its overrides without default and the members of its uniform `dims`, in lower case.
//!
//! A second form of an operator's kernels (for another class of device) is a shader `NAME_FORM.wgsl`, used by the same Rust file.

mod kernels;
mod linked;

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every operator, in alphabetical order.
        pub static ALL: &[&crate::tape::Operator] = &[$(&$name::OPERATOR),*];
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
