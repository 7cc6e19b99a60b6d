//! What every part of an evaluation needs.

use super::options::EvalOptions;
use super::target::EvalTarget;
use crate::gpu::Context;
use std::path::Path;

/// What every part of an evaluation needs.
pub(super) struct EvalContext<'a> {
    /// Device and buffers. The target's weights are in the buffer [`super::samples::WEIGHTS`].
    pub ctx: Context,
    /// What is evaluated.
    pub target: &'a EvalTarget,
    /// The user's options.
    pub options: &'a EvalOptions,
    /// Folder of the evaluation. Temporary files are kept here so that it can be resumed.
    pub folder: &'a Path,
}
