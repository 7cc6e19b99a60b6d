//! The device: adapters, buffers, pipelines, time stamps. The only module that names `wgpu`.
//!
//! It runs kernels on named buffers, and does not know what they compute. A [`Context`] is an open
//! device with its named buffers:
//!
//! ```no_run
//! use degrain::gpu::Context;
//!
//! let mut ctx = Context::open(None)?; // the best adapter
//! println!("{}, {} kernels", ctx.gpu.adapter(), ctx.target());
//! ctx.require("table", 16)?; // bytes, filled with zeros
//! ctx.write("table", 0, &[1.0f32, 2.0])?;
//! assert_eq!(ctx.read::<f32>("table", 0, 4)?, [1.0, 2.0, 0.0, 0.0]);
//! # Ok::<(), degrain::Error>(())
//! ```
//!
//! Tapes are recorded for a [`Target`], which needs no device:
//!
//! ```
//! use degrain::gpu::{Capabilities, DeviceClass, KernelVariant, SubgroupRange, Target};
//!
//! let target = Target::choose(Capabilities {
//!     class: DeviceClass::Integrated,
//!     subgroups: Some(SubgroupRange { min: 8, max: 32 }),
//!     workgroup_memory: 65_536,
//!     f16: true,
//!     int64: true,
//! });
//! assert_eq!(target.variant, KernelVariant::Tiled);
//! ```

mod adapter;
mod allocation;
mod buffers;
mod commands;
mod context;
mod device;
mod faults;
mod first_dispatch;
mod kernel_choices;
mod measured;
mod pace;
mod pipeline;
mod pipeline_cache;
mod shader;
mod submission;
mod submission_counter;
mod target;
mod timing;
mod wait;

pub use adapter::{AdapterChoice, best_adapters, list_adapters};
pub use buffers::{Buffers, Readback};
pub use commands::{BoundCall, BufferSizes, BufferSlot, CommandList};
pub use context::Context;
pub use device::Gpu;
#[doc(hidden)]
pub use faults::{DeviceFault, DeviceUse, device_use, inject};
pub use kernel_choices::KernelChoices;
pub use pace::{Pace, SECONDS as SUBMISSION_SECONDS, work};
pub use pipeline::BoundsChecks;
pub use shader::{Access, Binding, Entry, Shader, link};
pub use submission::Submission;
pub use target::{Capabilities, DeviceClass, KernelVariant, SubgroupRange, Target};

/// The storage of every tensor is padded to a multiple of this many bytes, so that kernels can read
/// it as `array<vec4<f32>>`.
pub const STORAGE_PADDING: u64 = 16;
/// The offset of a binding in its buffer is a multiple of this many bytes (the portable limit).
pub const OFFSET_ALIGNMENT: u64 = 256;
/// Most workgroups in one dimension of a dispatch (the portable limit). Larger grids are folded
/// into two dimensions.
pub const MAX_WORKGROUPS: u32 = 65_535;
