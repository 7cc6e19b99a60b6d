//! Progress bars on a terminal. Without the feature `cli` every bar is hidden, and the callers
//! print lines instead, as they do without a terminal.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

#[cfg(feature = "cli")]
pub use indicatif::ProgressBar;

/// The newest bar.
#[cfg(feature = "cli")]
static NEWEST: std::sync::Mutex<Option<indicatif::WeakProgressBar>> = std::sync::Mutex::new(None);

/// A bar with a template of indicatif.
#[cfg(feature = "cli")]
pub fn progress_bar(length: u64, template: &str) -> ProgressBar {
    let style = indicatif::ProgressStyle::with_template(template);
    let bar = ProgressBar::new(length).with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
    if let Ok(mut newest) = NEWEST.lock() {
        *newest = Some(bar.downgrade());
    }
    bar
}

/// A bar that is never visible.
#[cfg(feature = "cli")]
pub fn hidden_bar() -> ProgressBar {
    ProgressBar::hidden()
}

/// Prints a line to stderr, above the newest bar if it is visible. A line that is printed in any
/// other way is erased when a bar that fills several lines of the terminal is drawn again.
///
/// A closed stderr does not stop the work: `eprintln!` would end the program.
#[cfg(feature = "cli")]
pub fn note(line: impl Display) {
    let newest = NEWEST.lock().ok().and_then(|newest| newest.as_ref().and_then(indicatif::WeakProgressBar::upgrade));
    match newest.filter(|bar| !bar.is_finished()) {
        Some(bar) => bar.suspend(|| print(line)),
        None => print(line),
    }
}

/// Prints a line to stderr. A closed stderr does not stop the work.
#[cfg(not(feature = "cli"))]
pub fn note(line: impl Display) {
    print(line);
}

fn print(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A hidden bar.
#[cfg(not(feature = "cli"))]
pub struct ProgressBar;

#[cfg(not(feature = "cli"))]
pub fn progress_bar(_length: u64, _template: &str) -> ProgressBar {
    ProgressBar
}

#[cfg(not(feature = "cli"))]
pub fn hidden_bar() -> ProgressBar {
    ProgressBar
}

#[cfg(not(feature = "cli"))]
impl ProgressBar {
    pub fn is_hidden(&self) -> bool {
        true
    }

    pub fn set_position(&self, _position: u64) {}

    pub fn set_message(&self, _message: impl Into<String>) {}

    pub fn println(&self, _line: &str) {}

    pub fn suspend(&self, print: impl FnOnce()) {
        print();
    }

    pub fn abandon(&self) {}

    pub fn finish_and_clear(&self) {}
}

/// A duration as `HH:MM:SS`, with days in front if there are any: `2d 03:04:05`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let days = seconds / 86_400;
    let prefix = if days > 0 { format!("{days}d ") } else { String::new() };
    format!("{prefix}{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_writes_days_only_if_there_are_any() {
        assert_eq!(clock(Duration::from_secs(3723)), "01:02:03");
        assert_eq!(clock(Duration::from_secs(2 * 86_400 + 59)), "2d 00:00:59");
    }
}
