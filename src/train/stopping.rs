//! Ctrl-C: the first finishes the step and saves, the second stops at once.

use crate::Result;
use crate::output::interrupt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag for [`Trainer::run`](super::Trainer::run) that Ctrl-C or a termination signal sets.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if the system does not allow a handler, or there is one
/// already.
pub fn on_interrupt() -> Result<Arc<AtomicBool>> {
    interrupt::on_interrupt("finishing the step and saving; press Ctrl-C again to stop at once")
}
