//! Cache files of decoded images.
//!
//! A file holds the bytes of all images, `[N, C, H, W]`, then a summary as JSON, then the length of
//! the summary as a little-endian u64, then [`MAGIC`]. Its name has the first digits of the key,
//! which is a checksum of the files' names and contents and of the target: a changed folder has
//! another cache file.

use super::decode::Target;
use crate::data::pixels::Pixels;
use crate::data::source::sum;
use crate::error::{Error, Result};
use crate::files::{create_folder, remove_file, write_atomically_with};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, DirEntry, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAGIC: &[u8; 16] = b"degrain images 1";
/// Longest accepted summary: names of millions of damaged files.
const LONGEST_SUMMARY: u64 = 1 << 30;

/// Age of an unfinished cache file that no command can still be writing.
const UNFINISHED: Duration = Duration::from_secs(24 * 3600);

/// What a cache file says of its images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Summary {
    pub key: String,
    /// Number of decoded images.
    pub images: usize,
    /// Bytes of each image.
    pub pixels: usize,
    /// SHA-256 of the bytes of all images.
    pub sha256: String,
    /// How often each byte value occurs.
    pub counts: Vec<u64>,
    /// Number of images with a transparent part.
    pub transparent: usize,
    /// The files that could not be decoded, by their number, and what is wrong with them.
    pub damaged: Vec<(usize, String)>,
}

/// The path of the cache file of a key.
pub(super) fn path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("images-{}.cache", &key[..32]))
}

/// Opens a cache file; `None` if there is none. The content is compared with its checksum.
///
/// # Errors
/// A message for a damaged file.
pub(super) fn open(path: &Path, key: &str, target: &Target) -> std::result::Result<Option<(Pixels, Summary)>, String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let summary = read_summary(&mut file).map_err(|error| error.to_string())?.ok_or("its end is damaged")?;
    let pixels = target.pixels();
    if summary.key != key || summary.pixels != pixels || summary.counts.len() != 256 {
        return Err("it is of other images".into());
    }
    let length = summary.images * pixels;
    let bytes = Pixels::map(&file, length).map_err(|error| error.to_string())?;
    if bytes.len() != length || sum(&[&bytes]) != summary.sha256 {
        return Err("its content does not have its checksum".into());
    }
    Ok(Some((bytes, summary)))
}

fn read_summary(file: &mut File) -> io::Result<Option<Summary>> {
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(MAGIC.len() as u64 + 8) else { return Ok(None) };
    file.seek(SeekFrom::Start(end))?;
    let (mut size, mut magic) = ([0; 8], [0; MAGIC.len()]);
    file.read_exact(&mut size)?;
    file.read_exact(&mut magic)?;
    let size = u64::from_le_bytes(size);
    let Some(start) = end.checked_sub(size).filter(|_| magic == *MAGIC && size <= LONGEST_SUMMARY) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut text = vec![0; size as usize];
    file.read_exact(&mut text)?;
    let summary: Option<Summary> = serde_json::from_slice(&text).ok();
    Ok(summary.filter(|summary| (summary.images as u64).checked_mul(summary.pixels as u64) == Some(start)))
}

/// Removes the unfinished cache files of commands that were killed more than a day ago. Returns their
/// number.
pub(super) fn remove_unfinished(folder: &Path) -> usize {
    let is_old = |entry: &DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let written = entry.metadata().and_then(|data| data.modified()).ok();
        let age = written.and_then(|written| written.elapsed().ok()).unwrap_or_default();
        name.starts_with(".images-") && name.ends_with(".tmp") && age > UNFINISHED
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // A file that cannot be removed only takes space.
    entries.filter(is_old).filter(|entry| remove_file(&entry.path()).is_ok()).count()
}

/// Collects decoded images: their checksum and the numbers of their values.
pub(super) struct Collector {
    summary: Summary,
    hash: Sha256,
}

impl Collector {
    pub fn new(key: &str, target: &Target) -> Collector {
        let summary = Summary { key: key.into(), pixels: target.pixels(), counts: vec![0; 256], ..Summary::default() };
        Collector { summary, hash: Sha256::new() }
    }

    /// Adds the image of the next file.
    pub fn add(&mut self, bytes: &[u8], transparent: bool) {
        self.hash.update(bytes);
        bytes.iter().for_each(|&byte| self.summary.counts[usize::from(byte)] += 1);
        self.summary.images += 1;
        self.summary.transparent += usize::from(transparent);
    }

    /// Adds a damaged file.
    pub fn add_damaged(&mut self, number: usize, problem: String) {
        self.summary.damaged.push((number, problem));
    }

    /// The summary of all that was added.
    pub fn finish(self) -> Summary {
        Summary { sha256: hex(&self.hash.finalize()), ..self.summary }
    }
}

/// Checks that the disk of a folder, which is created, has room for `bytes`.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be created, and for a disk without room.
pub(super) fn check_room(folder: &Path, bytes: u128) -> Result<()> {
    create_folder(folder)?;
    match fs4::available_space(folder) {
        Ok(free) if u128::from(free) < bytes => {
            let full = format!("only {:.1} GB are free on this disk", free as f64 * 1e-9);
            Err(Error::io(folder)(io::Error::new(io::ErrorKind::StorageFull, full)))
        }
        // Without an answer of the system, writing shows it.
        _ => Ok(()),
    }
}

/// Writes a cache file. `decode` writes the bytes of all images and returns their summary.
///
/// # Errors
/// A folder that cannot be written, a full disk. An error of `decode` is returned as it is.
pub(super) fn write(
    path: &Path,
    decode: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Summary>,
) -> Result<Summary> {
    let mut outcome = None;
    let written = write_atomically_with(path, |file| {
        let summary = match decode(&mut |bytes| file.write_all(bytes)) {
            Ok(summary) => summary,
            Err(error) => {
                outcome = Some(Err(error));
                return Err(io::Error::other("the images cannot be decoded"));
            }
        };
        let text = serde_json::to_vec(&summary)?;
        file.write_all(&text)?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(MAGIC)?;
        outcome = Some(Ok(summary));
        Ok(())
    });
    match (written, outcome) {
        (_, Some(Err(error))) | (Err(error), _) => Err(error),
        (Ok(()), Some(Ok(summary))) => Ok(summary),
        (Ok(()), None) => Err(Error::file(path, "was not written")),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_needs_room_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("cache");
        check_room(&place, 1).unwrap();
        let message = check_room(&place, u128::MAX).unwrap_err().to_string();
        assert!(message.contains("are free on this disk") && message.contains("cache"), "{message}");
    }

    #[test]
    fn cache_files_of_killed_commands_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, hours: u64| {
            let file = File::create(folder.path().join(name)).unwrap();
            let written = std::time::SystemTime::now() - Duration::from_secs(3600 * hours);
            file.set_modified(written).unwrap();
        };
        for (name, hours) in [(".images-1.tmp", 25), (".images-2.tmp", 23), ("images-3.cache", 99), ("notes.tmp", 99)] {
            put(name, hours);
        }
        assert_eq!(remove_unfinished(folder.path()), 1);
        assert!(!folder.path().join(".images-1.tmp").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
