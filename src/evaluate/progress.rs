//! Progress of long operations: a bar on a terminal, and one line per operation elsewhere.

use crate::output::progress::{self, progress_bar};

/// The progress bar of one operation. It disappears when it is dropped.
pub(super) struct ProgressBar {
    bar: progress::ProgressBar,
}

/// Resolution of the bar.
const STEPS: f64 = 1000.0;

impl ProgressBar {
    /// Starts an operation, described by `message`.
    pub fn new(message: &str) -> ProgressBar {
        let bar = progress_bar(STEPS as u64, "{bar:30} {percent:>3} %  {eta_precise} left  {msg}");
        bar.set_message(message.to_string());
        if bar.is_hidden() {
            eprintln!("{message}");
        }
        ProgressBar { bar }
    }

    /// Sets the finished share, from 0 to 1.
    pub fn set(&self, share: f64) {
        self.bar.set_position((share * STEPS) as u64);
    }
}

impl Drop for ProgressBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
