//! Progress of long operations: a bar on a terminal, or one line per operation if there is no
//! terminal.

use crate::output::note;
use crate::output::progress::{self, progress_bar};

/// A phase of the evaluation with its progress bar, which disappears when the phase is dropped.
pub(super) struct Phase {
    bar: progress::ProgressBar,
}

/// Resolution of the bar.
const STEPS: f64 = 1000.0;

impl Phase {
    /// Starts a phase, described by `message`.
    pub fn new(message: &str) -> Phase {
        let bar = progress_bar(STEPS as u64, "{bar:30} {percent:>3} %  {eta_precise} left  {msg}");
        bar.set_message(message.to_string());
        if bar.is_hidden() {
            note(message);
        }
        Phase { bar }
    }

    /// Sets the finished share, from 0 to 1.
    pub fn set(&self, share: f64) {
        self.bar.set_position((share * STEPS) as u64);
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
