//! Diffusion models trained and sampled by handwritten WGSL compute kernels.
pub mod data;
pub mod error;
pub mod files;
pub mod report;
pub use error::{Error, Result};
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod tape;
