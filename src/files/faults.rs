//! Failures of the disk, made on purpose. A test switches one on for its thread, to see that no
//! good file is lost. They are off otherwise: no option and no environment variable reaches them.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A failure of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// The disk is full after this number of bytes, and stays full.
    Full(u64),
    /// The sync of a file or folder with this number fails, counted from 0.
    Sync(u64),
    /// The rename with this number fails, counted from 0.
    Rename(u64),
}

thread_local! {
    static FAULT: Cell<Option<DiskFault>> = const { Cell::new(None) };
    static USE: Cell<DiskUse> = const { Cell::new(DiskUse { bytes: 0, syncs: 0, renames: 0 }) };
}

/// What a thread has done to the disk since [`inject`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Bytes that were written, or should have been.
    pub bytes: u64,
    /// Syncs of files and folders.
    pub syncs: u64,
    /// Renames of files and folders.
    pub renames: u64,
}

/// Switches a failure of this thread's disk on, or off.
pub fn inject(fault: Option<DiskFault>) {
    FAULT.set(fault);
    USE.set(DiskUse::default());
}

/// What this thread has done to the disk since [`inject`]. It is counted while a failure is on.
pub fn disk_use() -> DiskUse {
    USE.get()
}

/// Writes all bytes, or those that fit on the disk before the error.
pub(super) fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let Some(fault) = FAULT.get() else { return file.write_all(bytes) };
    let before = USE.get().bytes;
    USE.set(DiskUse { bytes: before.saturating_add(bytes.len() as u64), ..USE.get() });
    match fault {
        DiskFault::Full(limit) if before.saturating_add(bytes.len() as u64) > limit => {
            file.write_all(&bytes[..limit.saturating_sub(before) as usize])?;
            Err(full())
        }
        _ => file.write_all(bytes),
    }
}

/// Opens a file for writing. A full disk has no room for a new one.
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    if is_full() && !path.exists() { Err(full()) } else { options.open(path) }
}

pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    if is_full() && !path.exists() { Err(full()) } else { fs::create_dir_all(path) }
}

pub(super) fn sync_all(file: &File) -> io::Result<()> {
    sync().and_then(|()| file.sync_all())
}

pub(super) fn sync_data(file: &File) -> io::Result<()> {
    sync().and_then(|()| file.sync_data())
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let Some(fault) = FAULT.get() else { return fs::rename(from, to) };
    let number = USE.get().renames;
    USE.set(DiskUse { renames: number + 1, ..USE.get() });
    if fault == DiskFault::Rename(number) {
        return Err(io::Error::other("the rename failed on purpose"));
    }
    fs::rename(from, to)
}

fn sync() -> io::Result<()> {
    let Some(fault) = FAULT.get() else { return Ok(()) };
    let number = USE.get().syncs;
    USE.set(DiskUse { syncs: number + 1, ..USE.get() });
    if fault == DiskFault::Sync(number) {
        return Err(io::Error::other("the sync failed on purpose"));
    }
    Ok(())
}

fn is_full() -> bool {
    matches!(FAULT.get(), Some(DiskFault::Full(limit)) if USE.get().bytes > limit)
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the disk is full on purpose")
}
