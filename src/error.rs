//! The world's errors: what a user, a file, a disk or a driver can cause.
//!
//! The programmer's errors (a broken shape rule, a kernel given the wrong operand) panic at the
//! caller's line instead. Every message names the thing it is about and says what to do; `main`
//! prints it and exits with code 1.

use std::path::{Path, PathBuf};

/// What can go wrong outside the program. Each message names the thing and says what to do.
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
        /// What it needs.
        bytes: u64,
        /// What the device allows.
        limit: u64,
        /// What to do.
        advice: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A setting that cannot be, or does not fit another.
    #[error("{0}")]
    Config(String),
    /// Training left the range of finite numbers.
    #[error("{0}")]
    NonFinite(String),
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
