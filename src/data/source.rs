//! One file of a data set: its bytes, decompressed if they are gzip, and their SHA-256.
//!
//! It does not know the formats: the caller says how many bytes to read.

use super::dataset::{DataFile, Split};
use super::known;
use crate::error::{Error, Result};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A ratio of content to compressed bytes that few images exceed; 4.7 for MNIST.
const USUAL_RATIO: usize = 8;

/// A file on the disk, possibly compressed.
pub(super) struct SourceFile {
    pub path: PathBuf,
    raw: Vec<u8>,
}

impl SourceFile {
    /// Opens the first of `names` that `folder` has.
    pub fn find(folder: &Path, names: &[String]) -> Result<SourceFile> {
        let Some(name) = names.iter().find(|name| folder.join(name).is_file()) else {
            let wanted = names.join(", ");
            return Err(Error::file(folder, format!("a file is missing; looked in this folder for {wanted}")));
        };
        SourceFile::open(&folder.join(name))
    }

    /// Opens one file.
    pub fn open(path: &Path) -> Result<SourceFile> {
        let raw = std::fs::read(path).map_err(Error::io(path))?;
        Ok(SourceFile { path: path.to_path_buf(), raw })
    }

    /// The first `limit` bytes of the content, or fewer if it is shorter. A gzip stream is not
    /// decompressed further than that.
    ///
    /// The content decides whether it is gzip, not the name, because servers and browsers
    /// decompress files without renaming them.
    pub fn first(&self, limit: usize) -> Result<Vec<u8>> {
        if self.is_gzip() { self.decompress(limit) } else { Ok(self.raw[..limit.min(self.raw.len())].to_vec()) }
    }

    /// [`SourceFile::first`] for large files. The file's bytes are given up, so that memory holds
    /// the content only once.
    pub fn take(&mut self, limit: usize) -> Result<Vec<u8>> {
        if self.is_gzip() {
            let content = self.decompress(limit)?;
            self.raw = vec![];
            return Ok(content);
        }
        let mut content = std::mem::take(&mut self.raw);
        content.truncate(limit);
        Ok(content)
    }

    fn is_gzip(&self) -> bool {
        self.raw.starts_with(&GZIP_MAGIC)
    }

    fn decompress(&self, limit: usize) -> Result<Vec<u8>> {
        // Images rarely compress further. A larger content makes the vector grow.
        let mut content = Vec::with_capacity(limit.min(self.raw.len().saturating_mul(USUAL_RATIO)));
        let mut rest = self.raw.as_slice();
        // A gzip file may contain several streams. They are read one by one, so that bytes after
        // the last stream are not mistaken for a damaged stream.
        while !rest.is_empty() {
            if !rest.starts_with(&GZIP_MAGIC) {
                let extra = rest.len();
                return Err(self.problem(format!("{extra} bytes follow the end of the gzip stream: download it again")));
            }
            let mut decoder = GzDecoder::new(rest);
            let wanted = (limit - content.len()) as u64;
            decoder.by_ref().take(wanted).read_to_end(&mut content).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    self.problem("the gzip stream ends early, as after an interrupted download: download it again")
                }
                _ => self.problem(format!("the gzip stream is damaged ({error}): download it again")),
            })?;
            if content.len() == limit {
                break;
            }
            rest = decoder.into_inner();
        }
        Ok(content)
    }

    /// Describes the file for the run's manifest: its path, its checksum, and whether it is a
    /// published file.
    pub fn describe(&self, content: &[u8]) -> DataFile {
        let sha256 = sum(&[content]);
        let known = known::find(&sha256).map(|file| file.what);
        DataFile { path: self.path.clone(), sha256, known }
    }

    /// An error about this file.
    pub fn problem(&self, problem: impl Into<String>) -> Error {
        Error::file(&self.path, problem)
    }
}

/// SHA-256 of the concatenated parts, in lower-case hexadecimal.
pub(super) fn sum(parts: &[&[u8]]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `folder` has a file of either split that matches one of `names`.
pub(super) fn holds_any(folder: &Path, names: fn(Split) -> Vec<String>) -> Result<bool> {
    Ok(!matching(folder, &[names(Split::Train), names(Split::Test)].concat())?.is_empty())
}

/// Names of the files in `folder` that match one of `patterns`, sorted by their bytes. A `*` in a
/// pattern matches any text except a leading dot, as in a shell. A pattern may begin with a
/// subfolder. The text after the `*` matches in upper and lower case, because cameras write .PNG.
pub(super) fn matching(folder: &Path, patterns: &[String]) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for pattern in patterns {
        let Some((start, end)) = pattern.split_once('*') else {
            found.extend(folder.join(pattern).is_file().then(|| pattern.clone()));
            continue;
        };
        let (place, start) =
            start.rsplit_once('/').map_or((folder.to_path_buf(), start), |(below, start)| (folder.join(below), start));
        if !place.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&place).map_err(Error::io(&place))? {
            let path = entry.map_err(Error::io(&place))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let rest = name.strip_prefix(start).filter(|_| !name.starts_with('.'));
            let fits = rest.is_some_and(|rest| rest.to_ascii_lowercase().ends_with(end));
            if !fits || !path.is_file() {
                continue;
            }
            if path.file_name().and_then(|name| name.to_str()).is_none() {
                return Err(Error::file(&path, "has a name that is not UTF-8: rename it"));
            }
            found.insert(pattern[..pattern.len() - start.len() - 1 - end.len()].to_string() + &name);
        }
    }
    Ok(found.into_iter().collect())
}
