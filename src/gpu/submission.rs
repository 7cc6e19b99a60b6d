//! Work that was submitted to a device.

/// A run that was submitted. [`Gpu::wait_for`](super::Gpu::wait_for) waits for it.
pub struct Submission(pub(super) wgpu::SubmissionIndex);
