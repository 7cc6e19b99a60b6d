//! The only place that writes files: whole files atomically, growing files record by record.
//!
//! Host only. A reader never finds a partial file or record, even if the disk fills up or the
//! process is killed. This module does not know the content.

mod faults;
mod folder;
mod lock;
mod part;

#[doc(hidden)]
pub use faults::{DiskFault, DiskUse, disk_use, inject};
use folder::unique_name_beside;
pub use folder::{TemporaryFolder, create_folder, remove_folder, rename, sync_folder};
pub use lock::{FileLock, FolderLock};
pub use part::PartFile;

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`, replacing an existing file. At every moment the file has either its
/// old or its new content.
///
/// # Errors
/// [`Error::Io`] naming `path` (no such folder, no permission, disk full). No temporary file
/// remains.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// [`write_atomically`] for content that is generated while it is written: `fill` gets a new,
/// empty, seekable file.
///
/// # Errors
/// [`Error::Io`] naming `path`, also for an error that `fill` returns. No temporary file remains.
pub fn write_atomically_with(path: &Path, fill: impl FnOnce(&mut NewFile) -> io::Result<()>) -> Result<()> {
    let temporary = unique_name_beside(path, "tmp");
    // `create_new` never writes through an existing link.
    let mut file = faults::open(OpenOptions::new().write(true).create_new(true), &temporary)
        .map(NewFile)
        .map_err(Error::io(path))?;
    let written = (|| {
        fill(&mut file)?;
        // Without this, a power cut after the rename can leave an empty file.
        faults::sync_all(&file.0)?;
        drop(file);
        faults::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // The first error is reported.
        let _ = fs::remove_file(&temporary);
        return Err(Error::io(path)(error));
    }
    // Without this, a power cut can undo the rename.
    folder::sync_parent(path)
}

/// A file that is being written.
#[derive(Debug)]
pub struct NewFile(File);

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        faults::write_all(&mut self.0, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Checks before long work that a file can be written at `path`: creates the folders above it, and
/// creates and removes a file with a unique name beside it.
///
/// # Errors
/// [`Error::Io`] naming the folder that cannot be created or written, or `path` if it is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: name a file"));
    }
    let probe = unique_name_beside(path, "tmp");
    faults::open(OpenOptions::new().write(true).create_new(true), &probe).map_err(Error::io(folder))?;
    fs::remove_file(&probe).map_err(Error::io(&probe))
}

/// Whether `path`, which may not exist yet, is `folder` or in it. Links are followed.
///
/// # Errors
/// [`Error::Io`] if the current folder is not known.
pub fn is_inside(path: &Path, folder: &Path) -> Result<bool> {
    // The part of the path that exists decides.
    let path = std::path::absolute(path).map_err(Error::io(path))?;
    let there = path.ancestors().find_map(|part| part.canonicalize().ok());
    Ok(folder.canonicalize().is_ok_and(|folder| there.is_some_and(|there| there.starts_with(folder))))
}

/// Refuses an output that would replace an input of the same command.
///
/// # Errors
/// [`Error::File`] naming the file.
pub fn check_not_input(output: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(place) = output.canonicalize() else { return Ok(()) };
    match inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == place)) {
        Some(input) => Err(Error::file(input, "is an input, and the output would replace it: choose another name")),
        None => Ok(()),
    }
}

/// Removes a file, if it exists.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path)(error)),
        _ => Ok(()),
    }
}

/// A path as a word of a shell command, which a user can paste: in quotes if it has a space or a
/// special character. A path that begins like an option gets `./` in front.
pub fn shell_quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let path = if path.starts_with('-') { format!("./{path}") } else { path };
    let plain = |c: char| c.is_alphanumeric() || "_-./\\:".contains(c);
    if !path.is_empty() && path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// Prints `text`, without adding a newline. Unlike `print!` it does not panic if the reader has
/// closed the pipe, as `| head` does.
///
/// # Errors
/// [`Error::Io`] naming the standard output.
pub fn print(text: impl std::fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(Error::io("standard output"))
}

/// A file that grows by whole records: a log, an event file.
pub struct Appender {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Appender {
    /// Opens `path` at its end, or creates it (and the folders above it).
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn open(path: &Path) -> Result<Appender> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        // Not `append(true)`, because a failed record is removed by seeking back.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = faults::open(&options, path).map_err(Error::io(path))?;
        let length = file.seek(SeekFrom::End(0)).map_err(Error::io(path))?;
        Ok(Appender { path: path.to_path_buf(), file, length })
    }

    /// Adds one record. The operating system has it when this returns. A partial record is removed.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        if let Err(error) = faults::write_all(&mut self.file, record) {
            // If the removal fails too, the first error is reported.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(Error::io(&self.path)(error));
        }
        self.length += record.len() as u64;
        Ok(())
    }

    /// Writes the file to the disk: a power cut keeps its records.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn sync(&self) -> Result<()> {
        faults::sync_data(&self.file).map_err(Error::io(&self.path))
    }

    /// Cuts the file to its first `length` bytes. This removes a partial record of a killed
    /// process, or records that a resumed run will write again.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn cut(&mut self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(Error::io(&self.path))?;
        self.length = self.file.seek(SeekFrom::Start(length)).map_err(Error::io(&self.path))?;
        Ok(())
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        let quoted = ["runs/a", "my run", "it's", "", "-x", "-my run"].map(|path| shell_quoted(Path::new(path)));
        assert_eq!(quoted, ["runs/a", "'my run'", r"'it'\''s'", "''", "./-x", "'./-my run'"]);
    }

    #[test]
    fn path_is_inside_a_folder_through_links() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("runs/a");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(place.path().join("runs"), place.path().join("link")).unwrap();
        for inside in ["runs/a", "runs/a/new", "link/a", "link/a/b/c", "runs/../runs/a/new"] {
            assert!(is_inside(&place.path().join(inside), &folder).unwrap(), "{inside}");
        }
        for outside in ["runs", "runs/ab", "link/b/a", "new/runs/a"] {
            assert!(!is_inside(&place.path().join(outside), &folder).unwrap(), "{outside}");
        }
    }
}
