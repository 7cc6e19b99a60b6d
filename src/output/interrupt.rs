//! Ctrl-C: the first ends the work at a good place, the second at once.

use super::progress::print_above;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that Ctrl-C or a termination signal sets. `message` says what happens then; it must be
/// shorter than a line of a terminal. The second signal ends the process.
///
/// # Errors
/// [`Error::Config`] if the system does not allow a handler, or there is one already.
pub(crate) fn on_interrupt(message: &'static str) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // Everything that was saved is complete.
            std::process::exit(130);
        }
        print_above(message);
    })
    .map_err(|e| Error::Config(format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(interrupted)
}
