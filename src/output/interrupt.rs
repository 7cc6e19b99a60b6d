//! Ctrl-C: the first ends the work at a good place, the second at once.

use super::progress::print_above;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Signals that follow the first within this time belong to it: `timeout` signals its child and
/// then the process group, and so do some shells and schedulers.
const SAME: Duration = Duration::from_millis(500);

/// A flag that Ctrl-C or a termination signal sets. `message` says what happens then; it must be
/// shorter than a line of a terminal. The second signal ends the process, unless it follows the
/// first within half a second.
///
/// # Errors
/// [`Error::Config`] if the system does not allow a handler, or there is one already.
pub(crate) fn on_interrupt(message: &'static str) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    let mut first = None;
    ctrlc::set_handler(move || match first {
        None => {
            flag.store(true, Ordering::Relaxed);
            print_above(message);
            // After the message, because a terminal can be slow.
            first = Some(Instant::now());
        }
        Some(first) if is_second(first, Instant::now()) => {
            // Everything that was saved is complete.
            std::process::exit(130);
        }
        Some(_) => {}
    })
    .map_err(|e| Error::Config(format!("Ctrl-C cannot be caught: {e}")))?;
    Ok(interrupted)
}

/// Whether a later signal is a new one.
fn is_second(first: Instant, now: Instant) -> bool {
    now.duration_since(first) > SAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_counts_signals_of_half_a_second_as_one() {
        let first = Instant::now();
        assert!(!is_second(first, first) && !is_second(first, first + Duration::from_millis(400)));
        assert!(is_second(first, first + Duration::from_millis(600)));
    }
}
