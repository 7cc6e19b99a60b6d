//! Diffusion models trained and sampled by handwritten WGSL compute kernels.
pub mod error;
pub use error::{Error, Result};
