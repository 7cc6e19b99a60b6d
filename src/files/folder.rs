//! Folders: created, removed, temporary, and synced to the disk.

use super::faults;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Removes a folder with its content, if it exists.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// Creates a folder and the folders above it, if they are missing.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn create_folder(path: &Path) -> Result<()> {
    faults::create_folder(path).map_err(Error::io(path))
}

/// Renames a file or folder. What is at `to` is replaced only if it is a file or an empty folder.
///
/// # Errors
/// [`Error::Io`] naming `to`.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    faults::rename(from, to).map_err(Error::io(to))
}

/// Writes the entries of a folder to the disk. After a power cut, a file that was created or
/// renamed in it is there.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn sync_folder(folder: &Path) -> Result<()> {
    // Windows cannot sync a folder, and does not need it.
    if cfg!(unix) {
        File::open(folder).and_then(|file| faults::sync_all(&file)).map_err(Error::io(folder))?;
    }
    Ok(())
}

/// Syncs the folder that holds `path`.
///
/// # Errors
/// [`Error::Io`] naming the folder.
pub fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// A new folder that is removed when it is dropped. Its name is unique, so it cannot be a folder
/// that somebody else created.
#[derive(Debug)]
pub struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Creates a folder in `parent` with a hidden name that begins with `name`.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn create(parent: &Path, name: &str) -> Result<TemporaryFolder> {
        let path = unique_name_beside(&parent.join(name), "tmp");
        // `create_dir` fails for a folder that exists.
        fs::create_dir(&path).map_err(Error::io(&path))?;
        Ok(TemporaryFolder(path))
    }

    /// Removes the folders of this name in `parent` that killed processes left. No other process
    /// may use one.
    ///
    /// # Errors
    /// [`Error::Io`] naming a folder.
    pub fn remove_old(parent: &Path, name: &str) -> Result<()> {
        for entry in fs::read_dir(parent).map_err(Error::io(parent))? {
            let entry = entry.map_err(Error::io(parent))?;
            let found = entry.file_name();
            let found = found.to_string_lossy();
            if found.starts_with(&format!(".{name}.")) && found.ends_with(".tmp") && entry.path().is_dir() {
                remove_folder(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // The result was already read. A folder that stays only takes space.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A hidden name in the same folder (a rename across file systems is not atomic), unique among
/// processes, threads and machines: process numbers alone repeat in containers.
pub(super) fn unique_name_beside(path: &Path, suffix: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}-{}-{count}.{suffix}", std::process::id(), now.as_nanos()))
}
