//! Errors that a user, a file, a disk or a driver can cause.
//!
//! Mistakes of the programmer (a broken shape rule, a kernel given the wrong operand) panic at the
//! caller's line instead. `main` prints the message of an error and exits with code 1.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// An error from outside the program. Each message names the thing and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable GPU adapter.
    #[error("{0}")]
    Adapter(String),
    /// The device was lost, ran out of memory, or refused a command.
    #[error("the GPU device failed: {0}")]
    Device(String),
    /// Something would be larger than the device allows.
    #[error("{what} needs {bytes} bytes, but this device allows {limit}: {advice}")]
    TooLarge {
        /// The buffer or tensor.
        what: String,
        /// Bytes that it needs.
        bytes: u64,
        /// Bytes that the device allows.
        limit: u64,
        /// Advice for the user.
        advice: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}{}", path.display(), advice(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The problem, and advice for the user.
        problem: String,
    },
    /// A setting that is invalid, or does not fit another.
    #[error("{0}")]
    Config(String),
    /// The user stopped the work.
    #[error("stopped")]
    Interrupted,
    /// A loss, gradient or sample is not finite.
    #[error("{0}")]
    NonFinite(String),
}

/// What a user can do about an error of the operating system, if that is not obvious.
fn advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull => ". Free some space on this disk",
        _ => "",
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A closure for `map_err` that attaches the path to an I/O error.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// A damaged or foreign file: its path and what is wrong with it.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }
}

/// Stops the work in progress if `stop` is set.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check_stop(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}
