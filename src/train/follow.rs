//! The training loop of ranks other than the first. It makes the same steps and comparisons as that
//! of rank 0, which also measures, prints and writes files.

use super::clock::Progress;
use super::due::is_due;
use super::run::Outcome;
use super::trainer::Trainer;
use crate::Result;
use std::sync::atomic::{AtomicBool, Ordering};

impl Trainer {
    /// Trains together with rank 0.
    ///
    /// # Errors
    /// A device that failed; ranks that differ.
    pub(super) fn follow(&mut self, stop: &AtomicBool) -> Result<Outcome> {
        self.compare_ranks()?;
        self.check_stream()?;
        self.share_forms(None)?;
        let (mut training, _) = self.compile_step()?;
        let validation = self.validation_program()?;
        let start = self.restore_or_initialize()?;
        let config = self.config.clone();
        let last = self.stop_after.map_or(config.steps, |stop| stop.min(config.steps));
        let mut source = self.loader.start(&config, &self.dataset, self.training_images(), start.step);
        let mut step = start.step;
        let mut validates = self.ranks.share_flag(false);
        let mut stopping = false;
        loop {
            // The result is the same on every rank, and rank 0 logs it.
            if let Some(validation) = validation.as_ref().filter(|_| validates) {
                self.validate(validation, Progress { step, ..start })?;
            }
            if step >= last || stopping {
                break;
            }
            if let Some(source) = &mut source {
                source.provide(&self.ctx, step)?;
            }
            stopping = self.run_divided(&mut training, &self.step_uniforms(step), stop.load(Ordering::Relaxed))?;
            step += 1;
            self.compare_parameters_if_due(step, is_due(config.checkpoint_every, step, config.steps))?;
            validates = is_due(config.validate_every, step, config.steps);
        }
        self.compare_parameters(step)?;
        Ok(if step < config.steps { Outcome::Stopped(step) } else { Outcome::Finished })
    }
}
