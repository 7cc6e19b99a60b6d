//! The device: adapters, buffers, pipelines, time stamps. The only folder that names `wgpu`.
//!
//! It runs kernels over named memory, and does not know what they compute.

mod adapter;
mod buffers;
mod context;
mod device;
mod pipeline;
mod shader;
mod target;
mod timing;

pub use adapter::{AdapterChoice, list_adapters};
pub use buffers::{Buffers, Readback};
pub use context::Context;
pub use device::{BoundsChecks, Gpu};
pub use pipeline::{BoundCall, BufferSlot, CommandList, Submission};
pub use shader::{Access, Binding, Entry, Shader, link};
pub use target::{Capabilities, DeviceClass, KernelVariant, SubgroupRange, Target};

/// Bytes to which the storage of every tensor is padded, so that kernels may take it as `array<vec4<f32>>`.
pub const STORAGE_PADDING: u64 = 16;
/// Alignment of a binding's offset in a buffer (the portable limit).
pub const OFFSET_ALIGNMENT: u64 = 256;
/// Workgroups a dispatch may have in one dimension (the portable limit); larger grids are folded into two.
pub const MAX_WORKGROUPS: u32 = 65_535;
