//! Diffusion models trained and sampled by handwritten WGSL compute kernels.
pub mod error;
pub use error::{Error, Result};
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod tape;
