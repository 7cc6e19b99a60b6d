//! Work that was submitted to a device.

use std::time::Instant;

/// A run that was submitted. [`Gpu::wait_for`](super::Gpu::wait_for) waits for it.
pub struct Submission {
    /// The last submission of the run.
    pub(super) index: wgpu::SubmissionIndex,
    /// Work of the whole run, as in [`work`](super::work); 0 for a copy.
    pub(super) work: f64,
    /// When the run was submitted.
    pub(super) submitted: Instant,
}
