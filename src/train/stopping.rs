//! Ctrl-C: the first finishes the step and saves, the second stops at once.

use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag for [`Trainer::run`](super::Trainer::run) that Ctrl-C or a termination signal sets.
///
/// # Errors
/// [`Error::Config`] if the system does not allow a handler, or there is one already.
pub fn on_interrupt() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // On the second signal, exit without finishing the step. The last checkpoint is
            // complete.
            std::process::exit(130);
        }
        eprintln!("\nfinishing the step and saving; press Ctrl-C again to stop at once");
    })
    .map_err(|e| Error::Config(format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(interrupted)
}
