//! What a user sees of long work: a bar on a terminal, a line for each part elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of one part of the work, in thousandths.
pub struct Progress {
    bar: ProgressBar,
}

/// Parts of a bar.
const WHOLE: f64 = 1000.0;

impl Progress {
    /// Begins a part and says what it is.
    pub fn begin(what: &str) -> Progress {
        let bar = ProgressBar::new(WHOLE as u64);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {eta_precise} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_string());
        if bar.is_hidden() {
            eprintln!("{what}");
        }
        Progress { bar }
    }

    /// The share that is done.
    pub fn done(&self, share: f64) {
        self.bar.set_position((share * WHOLE) as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
