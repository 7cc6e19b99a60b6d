//! A new run that continues another run, which stays as it is.

use super::manifest::Manifest;
use super::origin::{Origin, Taken, sha256};
use super::trainer::Trainer;
use super::training_state::STATE_FILE;
use crate::checkpoint::CheckpointMetadata;
use crate::files::{is_inside, write_atomically};
use crate::{Error, Result};
use std::fs;
use std::path::Path;

impl Trainer {
    /// Continues the last checkpoint of `run`, or that of `step`, as a new run in the folder of
    /// these settings ([`Config::out`](super::Config::out)). The new run has its own name, and
    /// begins with a copy of the log up to this step. `run` is only read. The result is bit for bit
    /// the same as that of [`Trainer::resume`] with these settings.
    ///
    /// # Errors
    /// As [`Trainer::resume_from`]; a folder that is `run` or is in it.
    pub fn fork(self, run: &Path, step: Option<u32>) -> Result<Trainer> {
        let out = &self.config.out;
        if is_inside(out, run)? {
            return Err(Error::Config(format!(
                "--out {} is in the folder of the run {}, which must stay as it is: choose another --out, or continue the \
                 run itself without --out",
                out.display(),
                run.display()
            )));
        }
        let mut trainer = self.continued(run, step)?;
        // The later checkpoints of the other run are not in the way.
        trainer.newest = None;
        if let Some((step, path)) = &trainer.checkpoint {
            let metadata = CheckpointMetadata::read(path)?.unwrap_or_default();
            let run = metadata.run.or(Manifest::read(run)?.and_then(|manifest| manifest.run));
            let sha256 = sha256(&[path.join(STATE_FILE)])?;
            let (taken, path, step) = (Taken::State, path.clone(), *step);
            trainer.origin = Some(Origin { taken, path, run, step, sha256, null_class: None });
        }
        Ok(trainer)
    }

    /// Copies the log of the run that a new run continues. Its later entries are cut off when it is
    /// opened.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub(super) fn copy_log(&self) -> Result<()> {
        let (Some(_), Some((_, checkpoint))) = (&self.origin, &self.checkpoint) else { return Ok(()) };
        let Some(log) = checkpoint.parent().map(|run| run.join("log.jsonl")).filter(|log| log.is_file()) else {
            return Ok(());
        };
        let entries = fs::read(&log).map_err(Error::io(&log))?;
        write_atomically(&self.config.out.join("log.jsonl"), &entries)
    }
}
