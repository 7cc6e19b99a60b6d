//! State shared by all parts of an evaluation.

use super::options::EvalOptions;
use super::target::EvalTarget;
use crate::diffusion::latent_prior::LatentPrior;
use crate::gpu::Context;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// State shared by all parts of an evaluation.
pub(super) struct EvalContext<'a> {
    /// Device and buffers. The target's weights are in the buffer [`super::target::WEIGHTS`].
    pub ctx: Context,
    /// The model or images to evaluate.
    pub target: &'a EvalTarget,
    /// The user's options.
    pub options: &'a EvalOptions,
    /// Folder of the evaluation. Temporary files in it allow an interrupted evaluation to resume.
    pub folder: &'a Path,
    /// What an autoencoder's latents are drawn from; `None` for other targets.
    pub latents: Option<LatentPrior>,
    /// Caches of samples in the folder that this evaluation opened.
    pub caches: RefCell<Vec<PathBuf>>,
}
