//! Diffusion models trained and sampled by handwritten WGSL compute kernels.

pub mod data;
pub mod diffusion;
pub mod error;
pub mod files;
pub mod gpu;
pub mod nn;
pub mod ops;
pub mod report;
pub mod tape;
pub mod train;

pub use error::{Error, Result};
