//! The faces of the shaders, written by `build.rs`.

#![allow(missing_docs)]

use crate::gpu::{Access, Binding, Entry, Shader};
use crate::tape::{Dispatch, Kernel, Tensor};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
