//! Kernels as operators name them, before they become calls.

use super::tensor::Tensor;
use crate::gpu::Entry;

/// A kernel with its operands and constants.
pub struct Dispatch {
    /// The entry point.
    pub entry: &'static Entry,
    /// One tensor for each of its bindings.
    pub operands: Vec<Tensor>,
    /// One value for each of its constants.
    pub constants: Vec<f64>,
    /// The words of its uniform `dims`.
    pub dims: Vec<u32>,
}

/// The typed structs that `build.rs` generates, one for each entry point of a shader.
pub trait Kernel {
    /// The kernel with its operands and constants.
    fn call(&self) -> Dispatch;
}
