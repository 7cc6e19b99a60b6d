//! Work that was submitted to a device.

use std::time::Instant;

/// A run that was submitted. [`Gpu::wait_for`](super::Gpu::wait_for) waits for it.
pub struct Submission {
    /// The last submission of the run.
    pub(super) index: wgpu::SubmissionIndex,
    /// When the run was submitted.
    pub(super) submitted: Instant,
}
