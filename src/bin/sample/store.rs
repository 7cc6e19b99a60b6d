//! The finished images of a drawing: in memory, or in a file from which an interrupted drawing
//! continues.

use degrain::Result;
use degrain::files::PartFile;

/// The finished images. A record is an image: the bytes `[C, H, W]` of its states, from noise to
/// the image itself.
pub enum Store {
    Memory { bytes: Vec<u8>, record: usize },
    File(PartFile),
}

impl Store {
    /// Number of finished images.
    pub fn count(&self) -> u32 {
        let count = match self {
            Store::Memory { bytes, record } => (bytes.len() / record) as u64,
            Store::File(part) => part.count(),
        };
        count.try_into().unwrap_or(u32::MAX)
    }

    /// Adds images. In a file, they are on the disk when this returns.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        match self {
            Store::Memory { bytes, .. } => {
                bytes.extend(records);
                Ok(())
            }
            Store::File(part) => part.append(records),
        }
    }

    /// Reads part of the record of an image.
    pub fn read(&mut self, image: usize, offset: usize, into: &mut [u8]) -> Result<()> {
        match self {
            Store::Memory { bytes, record } => {
                into.copy_from_slice(&bytes[image * *record + offset..][..into.len()]);
                Ok(())
            }
            Store::File(part) => part.read(image as u64, offset, into),
        }
    }

    /// Removes the file, after the output was written.
    pub fn remove(self) -> Result<()> {
        match self {
            Store::Memory { .. } => Ok(()),
            Store::File(part) => part.remove(),
        }
    }
}
