//! Ctrl-C: the first ends the work at a good place, the second at once.

use super::progress::note;
use crate::{Error, Result};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Signals that follow the first within this time belong to it: `timeout` signals its child and
/// then the process group, and so do some shells and schedulers.
const SAME: Duration = Duration::from_millis(500);

/// A flag that Ctrl-C or a termination signal sets. `message` says what happens then; it must be
/// shorter than a line of a terminal. The second signal ends the process, unless it follows the
/// first within half a second. Signals that are ignored when the program starts stay ignored:
/// `nohup` ignores SIGHUP, and a script ignores SIGINT for programs in the background.
///
/// # Errors
/// [`Error::Config`] if the system does not allow a handler, or there is one already.
pub(crate) fn on_interrupt(message: &'static str) -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    let mut first = None;
    #[cfg(unix)]
    let ignored = ignored::signals()?;
    ctrlc::set_handler(move || match first {
        None => {
            flag.store(true, Ordering::Relaxed);
            note(message);
            // After the message, because a terminal can be slow.
            first = Some(Instant::now());
        }
        Some(first) if is_second(first, Instant::now()) => {
            // Everything that was saved is complete.
            std::process::exit(130);
        }
        Some(_) => {}
    })
    .map_err(not_caught)?;
    #[cfg(unix)]
    ignored::ignore(&ignored)?;
    Ok(interrupted)
}

fn not_caught(problem: impl Display) -> Error {
    Error::Config(format!("Ctrl-C cannot be caught: {problem}"))
}

/// Signals that the program's parent has set to be ignored. `ctrlc` would handle them.
#[cfg(unix)]
mod ignored {
    use super::not_caught;
    use crate::Result;
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    fn set(signal: Signal, action: &SigAction) -> Result<SigAction> {
        // SAFETY: `action` ignores the signal, or is the one that the system had for it before.
        unsafe { sigaction(signal, action) }.map_err(not_caught)
    }

    fn ignoring() -> SigAction {
        SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty())
    }

    /// The ignored ones of the signals that `ctrlc` handles. The action of a signal is known when it is
    /// replaced; a signal that arrives before it is set again is lost.
    pub fn signals() -> Result<Vec<Signal>> {
        let mut ignored = vec![];
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let before = set(signal, &ignoring())?;
            set(signal, &before)?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                ignored.push(signal);
            }
        }
        Ok(ignored)
    }

    /// Ignores the signals.
    pub fn ignore(signals: &[Signal]) -> Result<()> {
        signals.iter().try_for_each(|&signal| set(signal, &ignoring()).map(|_| ()))
    }
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
