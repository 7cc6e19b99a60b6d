//! One writer per folder, and one per file.

use super::faults;
use super::folder::create_folder;
use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Seek;
use std::path::Path;
use std::time::{Duration, Instant};

/// Name of the lock file.
const LOCK: &str = ".lock";

/// Longest wait for a [`FileLock`], and the time between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);

/// The exclusive right to write into a folder. It ends when this value is dropped or the process
/// ends, however it ends. The lock file stays.
#[derive(Debug)]
pub struct FolderLock {
    /// The lock ends when the file is closed.
    _file: File,
}

impl FolderLock {
    /// Locks a folder, which is created if missing.
    ///
    /// # Errors
    /// [`Error::File`] naming the process that holds the lock; [`Error::Io`] for a folder that
    /// cannot be written or a file system without locks.
    pub fn acquire(folder: &Path) -> Result<FolderLock> {
        create_folder(folder)?;
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = faults::open(&options, &path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // On Windows a locked file cannot be read.
                let holder = fs::read_to_string(&path).unwrap_or_default();
                let holder = if holder.is_empty() { "another process" } else { holder.trim_end() };
                return Err(Error::file(
                    folder,
                    format!(
                        "{holder} is writing into this folder: wait until it has finished, or choose another folder"
                    ),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        let program = std::env::current_exe().ok();
        let program =
            program.as_deref().and_then(Path::file_stem).map_or("a program".into(), |name| name.to_string_lossy());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| {
                faults::write_all(&mut file, format!("{program} (process {})", std::process::id()).as_bytes())
            })
            .map_err(Error::io(&path))?;
        Ok(FolderLock { _file: file })
    }
}

/// The exclusive right to write a file, until this value is dropped or the process ends.
#[derive(Debug)]
pub struct FileLock {
    /// The lock ends when the file is closed.
    _file: File,
}

impl FileLock {
    /// Waits for the lock file with this path, at most a minute. The file and its folder are created
    /// if missing, and stay.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be written or a file system without locks;
    /// [`Error::File`] if another process keeps the lock.
    pub fn wait(path: &Path) -> Result<FileLock> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = faults::open(&options, path).map_err(Error::io(path))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(FileLock { _file: file }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LONGEST_WAIT => std::thread::sleep(INTERVAL),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::file(path, "another process keeps this file locked"));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
            }
        }
    }
}
