//! Arrays from numpy's `.npz`, a zip of `.npy` files. This module does not know the meaning of the
//! arrays.

use super::npy::{Header, Integer, read_header, unreadable};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::read::ZipFile;

/// The largest ratio of content to compressed bytes of deflate: a match of 258 bytes takes two
/// bits.
const LARGEST_RATIO: u64 = 4 * 258;

/// An open archive.
pub(super) struct Npz {
    pub path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// Length of the file in bytes.
    length: u64,
}

/// An array of an archive. Its header has been read.
pub(super) struct NpzArray<'a> {
    name: &'a str,
    path: &'a Path,
    entry: ZipFile<'a, BufReader<File>>,
    file_length: u64,
    pub header: Header,
}

impl Npz {
    /// Opens an archive and reads the list of its arrays.
    pub fn open(path: &Path) -> Result<Npz> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
            Error::file(path, format!("is not a readable npz archive ({error}): download it again"))
        })?;
        Ok(Npz { path: path.to_path_buf(), archive, length })
    }

    /// Whether there is an array called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{name}.npy")).is_some()
    }

    /// The array called `name`, at its first element. Fortran order is refused.
    pub fn array<'a>(&'a mut self, name: &'a str) -> Result<NpzArray<'a>> {
        let path = &self.path;
        let Some(index) = self.archive.index_for_name(&format!("{name}.npy")) else {
            let names: Vec<_> = self.archive.file_names_raw().map(String::from_utf8_lossy).collect();
            let instead = if names.is_empty() { "nothing".to_string() } else { names.join(", ") };
            return Err(Error::file(path, format!("has no array `{name}`: it holds {instead}")));
        };
        let said = |problem: String| Error::file(path, format!("its array `{name}` {problem}"));
        let mut entry = self.archive.by_index(index).map_err(|error| said(format!("cannot be unpacked ({error})")))?;
        let header = read_header(&mut entry).map_err(said)?;
        if header.fortran_order {
            return Err(said("is in Fortran's order: save it again after numpy.ascontiguousarray".to_string()));
        }
        Ok(NpzArray { name, path, entry, file_length: self.length, header })
    }
}

impl NpzArray<'_> {
    /// An error about this array.
    pub fn problem(&self, problem: impl std::fmt::Display) -> Error {
        Error::file(self.path, format!("its array `{}` {problem}", self.name))
    }

    /// Bytes of the array according to its shape, for elements of `size` bytes. The archive must
    /// give the same length, which its compressed bytes can hold.
    pub fn length(&self, size: usize) -> Result<usize> {
        let Header { raw, shape, .. } = &self.header;
        let dimensions = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        let got = self.entry.size().saturating_sub(raw.len() as u64);
        // The archive's own numbers may be damaged too.
        let compressed = self.entry.compressed_size().min(self.file_length);
        match shape.iter().try_fold(size, |product, &dimension| product.checked_mul(dimension)) {
            Some(wanted) if wanted as u64 == got && got / LARGEST_RATIO > compressed => {
                let problem = format!("promises {wanted} bytes, more than its {compressed} compressed ones can hold");
                Err(self.problem(format!("{problem}: it is damaged")))
            }
            None => Err(self.problem(format!("promises {dimensions} elements, more than any file: it is damaged"))),
            Some(wanted) if wanted as u64 == got => Ok(wanted),
            Some(wanted) if wanted as u64 > got => {
                Err(self.problem(format!("is truncated: {got} bytes of the {wanted} that its header promises")))
            }
            Some(wanted) => Err(self.problem(format!("is oversized: {got} bytes, but its header promises {wanted}"))),
        }
    }

    /// Appends the elements, exactly `length` bytes, to `bytes`. The archive's checksum is verified
    /// at their end.
    pub fn read(&mut self, length: usize, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.try_reserve_exact(length).map_err(|_| {
            self.problem(format!("holds {length} bytes, more than the memory that is available: use fewer images"))
        })?;
        let limit = length as u64 + 1;
        let got = self.entry.by_ref().take(limit).read_to_end(bytes).map_err(|e| self.problem(unreadable(&e)))?;
        if got == length { Ok(()) } else { Err(self.problem("is not as long as the archive says: download it again")) }
    }

    /// The elements as stored in the file, and as numbers.
    pub fn integers(&mut self) -> Result<(Vec<u8>, Vec<i128>)> {
        let Some(integer) = Integer::parse(&self.header.element) else {
            return Err(self.problem(format!("holds elements of type `{}`, not integers", self.header.element)));
        };
        let (length, mut bytes) = (self.length(integer.size)?, Vec::new());
        self.read(length, &mut bytes)?;
        let numbers = bytes.chunks_exact(integer.size).map(|element| integer.decode(element)).collect();
        Ok((bytes, numbers))
    }
}
