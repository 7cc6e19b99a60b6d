//! The distribution of an autoencoder's latents, which training fits when it ends.

use super::buffers::EMA;
use super::due::Due;
use super::trainer::Trainer;
use crate::Result;
use crate::checkpoint::latent_mixture;
use std::path::{Path, PathBuf};

impl Trainer {
    /// Fits the distribution of an autoencoder's latents after the last step, and adds it to its
    /// checkpoint. A resumed run that only makes measurements fits it again, with the same result.
    ///
    /// # Errors
    /// A file that cannot be written; a device that failed.
    pub(super) fn fit_latents(&mut self, step: u32, due: Due) -> Result<()> {
        let path = latent_mixture_path(&self.config.out, step);
        let written = path.exists();
        if step < self.config.steps || self.config.latent_components == 0 || (written && !due.any()) {
            return Ok(());
        }
        let Some(model) = self.objective.generative() else { return Ok(()) };
        eprintln!("fitting the distribution of the latents of training images");
        match model.fit_latents(&mut self.ctx, EMA, &self.dataset) {
            Ok(latents) => self.latents = latents,
            Err(problem) => {
                self.ctx.gpu.check()?;
                eprintln!("warning: {problem}. Latents are drawn from N(0, 1)");
            }
        }
        match &self.latents {
            Some(latents) if !written => latent_mixture::write(&path, latents),
            _ => Ok(()),
        }
    }
}

/// Path of the mixture in the checkpoint of a step.
pub(super) fn latent_mixture_path(run: &Path, step: u32) -> PathBuf {
    run.join(format!("checkpoint-{step}")).join(latent_mixture::FILE)
}
