//! The distribution of an autoencoder's latents, which training fits when it ends.

use super::buffers::EMA;
use super::clock::Activity;
use super::run::Recorder;
use super::trainer::Trainer;
use crate::checkpoint::latent_mixture;
use crate::diffusion::autoencoder::TrainingImages;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Trainer {
    /// Fits the distribution of an autoencoder's latents after the last step, and adds it to its
    /// checkpoint; or reads it if the checkpoint has it. A fit that fails is a warning. After an
    /// interrupt nothing is fitted. In both cases, a resumed run fits again.
    ///
    /// # Errors
    /// A file that is damaged or cannot be written; a device that failed.
    pub(super) fn fit_latents(&mut self, recorder: &mut Recorder<'_, '_>) -> Result<()> {
        let step = recorder.step;
        let path = latent_mixture_path(&self.config.out, step);
        let Some(model) = self.objective.generative().filter(|model| model.latent_components() > 0) else {
            return Ok(());
        };
        if step < self.config.steps || recorder.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(latents) = latent_mixture::read(&path)? {
            self.latents = Some(latents);
            return Ok(());
        }
        recorder.clock.switch(Activity::Other, Instant::now());
        recorder.log.busy("fitting the distribution of the latents of training images");
        let images = TrainingImages { data: &self.dataset, count: self.training_images() as usize };
        let outcome = model.fit_latents(&mut self.ctx, EMA, images);
        recorder.clock.switch(Activity::Training, Instant::now());
        match outcome {
            Ok(latents) => {
                latent_mixture::write(&path, &latents)?;
                self.latents = Some(latents);
                Ok(())
            }
            Err(problem @ Error::Device(_)) => Err(problem),
            Err(problem) => {
                recorder.gpu.check()?;
                recorder.log.warn(&format!("{problem}. Samples draw their latents from N(0, 1)"));
                Ok(())
            }
        }
    }
}

/// Path of the mixture in the checkpoint of a step.
pub(super) fn latent_mixture_path(run: &Path, step: u32) -> PathBuf {
    run.join(format!("checkpoint-{step}")).join(latent_mixture::FILE)
}
