//! A file of finished records next to an output file. An interrupted program continues from it.
//!
//! The first line is a header that describes the work. Records of equal length follow.

use super::faults;
use super::folder::sync_parent;
use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest first line of another program's file that is read.
const LONGEST_LINE: u64 = 1 << 16;

/// A file of finished records, locked by this process.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    file: File,
    /// Bytes of the header.
    start: u64,
    /// Bytes of a record.
    record: u64,
    /// Complete records.
    count: u64,
}

impl PartFile {
    /// Path of the file of the output `out`: `OUT.part`.
    pub fn path_for(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_owned();
        name.push(".part");
        name.into()
    }

    /// Opens the file and reads its number of records, or creates it. `header` is one line without
    /// its end, and `record` is the length of a record. A partial record at the end is removed.
    ///
    /// # Errors
    /// [`Error::File`] for a file with another header, which stays as it is: `explain` turns its
    /// first line into the problem. [`Error::File`] for a file that another process has open, and
    /// [`Error::Io`].
    pub fn open(path: &Path, header: &str, record: usize, explain: &dyn Fn(&str) -> String) -> Result<PartFile> {
        assert!(!header.contains('\n') && record > 0, "a header of one line and records of at least one byte");
        let mut file = open_locked(path)?;
        let line = format!("{header}\n");
        let start = line.len() as u64;
        // It is new, or a program was killed before it wrote the header.
        if file.metadata().map_err(Error::io(path))?.len() == 0 {
            let written = faults::write_all(&mut file, line.as_bytes()).and_then(|()| faults::sync_all(&file));
            if let Err(error) = written {
                // The first error is reported.
                let _ = fs::remove_file(path);
                return Err(Error::io(path)(error));
            }
            sync_parent(path)?;
            file.seek(SeekFrom::Start(0)).map_err(Error::io(path))?;
        }
        let mut begin = vec![];
        (&mut file).take(start.max(LONGEST_LINE)).read_to_end(&mut begin).map_err(Error::io(path))?;
        if !begin.starts_with(line.as_bytes()) {
            let first = begin.split(|&byte| byte == b'\n').next().unwrap_or_default();
            return Err(Error::file(path, explain(&String::from_utf8_lossy(first))));
        }
        let length = file.metadata().map_err(Error::io(path))?.len();
        let record = record as u64;
        let mut part = PartFile { path: path.into(), file, start, record, count: (length - start) / record };
        part.truncate(part.count)?;
        Ok(part)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of records.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Keeps only the first `count` records.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn truncate(&mut self, count: u64) -> Result<()> {
        self.count = self.count.min(count);
        self.file.set_len(self.start + self.count * self.record).map_err(Error::io(&self.path))
    }

    /// Adds whole records and writes them to the disk.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, for example for a full disk. The earlier records stay.
    ///
    /// # Panics
    /// If the length is not a multiple of a record's.
    #[track_caller]
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        let bytes = records.len() as u64;
        assert!(bytes.is_multiple_of(self.record), "{bytes} bytes in records of {}", self.record);
        let end = self.start + self.count * self.record;
        let written = self
            .file
            .seek(SeekFrom::Start(end))
            .and_then(|_| faults::write_all(&mut self.file, records))
            .and_then(|()| faults::sync_data(&self.file));
        if let Err(error) = written {
            // If this fails too, the partial record is removed when the file is opened again.
            let _ = self.file.set_len(end);
            return Err(Error::io(&self.path)(error));
        }
        self.count += bytes / self.record;
        Ok(())
    }

    /// Reads part of a record, from byte `offset` of record `index`.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn read(&mut self, index: u64, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let at = self.start + index * self.record + offset as u64;
        self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(bytes)).map_err(Error::io(&self.path))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn remove(self) -> Result<()> {
        // The lock is held until the file is closed, so no other process can be using it.
        fs::remove_file(&self.path).map_err(Error::io(&self.path))?;
        sync_parent(&self.path)
    }
}

/// Opens or creates a file and locks it.
fn open_locked(path: &Path) -> Result<File> {
    loop {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_file() => {
                return Err(Error::file(path, "is not a file: remove it, or choose another --out"));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(path)(error)),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match faults::open(&options, path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match faults::open(options.create_new(true), path) {
                    // Another process created it in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    created => created.map_err(Error::io(path))?,
                }
            }
            Err(error) => return Err(Error::io(path)(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file(
                    path,
                    "another process is writing it: wait until it has finished, or choose another --out",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
        }
        // Another process may have removed the file between opening and locking.
        if !is_removed(&file, path).map_err(Error::io(path))? {
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn is_removed(file: &File, _path: &Path) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) == 0)
}

#[cfg(not(unix))]
fn is_removed(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(!path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, header: &str) -> Result<PartFile> {
        PartFile::open(path, header, 4, &|line| format!("differs: {line}"))
    }

    #[test]
    fn part_file_keeps_whole_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = PartFile::path_for(&folder.path().join("a.npz"));
        assert!(path.ends_with("a.npz.part"));
        let mut part = open(&path, "mine").unwrap();
        part.append(b"aaaabbbb").unwrap();
        drop(part);
        let mut torn = fs::read(&path).unwrap();
        torn.extend(b"ccc");
        fs::write(&path, &torn).unwrap();
        let mut part = open(&path, "mine").unwrap();
        assert_eq!(part.count(), 2);
        part.append(b"dddd").unwrap();
        let mut bytes = [0; 2];
        part.read(2, 1, &mut bytes).unwrap();
        assert_eq!(&bytes, b"dd");
        assert_eq!(fs::read(&path).unwrap(), b"mine\naaaabbbbdddd");
        part.truncate(1).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine\naaaa");
        part.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn part_file_refuses_other_headers_and_a_second_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        for content in [&b"other\nmore"[..], b"minerals", b"mi", b"\x00\xff"] {
            fs::write(&path, content).unwrap();
            assert!(open(&path, "mine").unwrap_err().to_string().contains("differs: "));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        let part = open(&path, "mine").unwrap();
        assert_eq!((part.count(), fs::read(&path).unwrap()), (0, b"mine\n".to_vec()));
        assert!(open(&path, "mine").unwrap_err().to_string().contains("another process"));
        drop(part);
        open(&path, "mine").unwrap();
        // As a program leaves it that was killed before it wrote the header.
        fs::write(&path, b"").unwrap();
        open(&path, "mine").unwrap().append(b"aaaa").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine\naaaa");
        let folder_there = folder.path().join("b.part");
        fs::create_dir(&folder_there).unwrap();
        assert!(open(&folder_there, "mine").unwrap_err().to_string().contains("is not a file"));
    }
}
