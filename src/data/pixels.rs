//! The bytes of all images of a data set: in memory, or in a cache file.

use memmap2::{MmapMut, MmapOptions};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};

/// Bytes of images. Those of a cache file are read by the system when they are used, so they can be
/// more than the memory holds. Changes stay in memory: they are never written to the file.
pub struct Pixels(Store);

enum Store {
    Memory(Vec<u8>),
    File(MmapMut),
}

impl Pixels {
    /// The first `length` bytes of a file.
    pub(super) fn map(file: &File, length: usize) -> io::Result<Pixels> {
        if length == 0 {
            return Ok(vec![].into());
        }
        // SAFETY: the mapping is private, and this crate never changes a cache file after it was
        // renamed to its name. If another program cuts the file, the system ends this process.
        let map = unsafe { options(length).map_copy(file)? };
        Ok(Pixels(Store::File(map)))
    }
}

/// A private mapping. Without the reservation, the system would refuse a mapping that is larger than
/// the memory, because all of it could be changed.
fn options(length: usize) -> MmapOptions {
    let mut options = MmapOptions::new();
    options.len(length);
    #[cfg(unix)]
    options.no_reserve_swap();
    options
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Pixels {
        Pixels(Store::Memory(bytes))
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Store::Memory(bytes) => bytes,
            Store::File(map) => map,
        }
    }
}

impl DerefMut for Pixels {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Store::Memory(bytes) => bytes,
            Store::File(map) => map,
        }
    }
}

/// The clone is in memory.
impl Clone for Pixels {
    fn clone(&self) -> Pixels {
        self.to_vec().into()
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl<B: AsRef<[u8]> + ?Sized> PartialEq<B> for Pixels {
    fn eq(&self, other: &B) -> bool {
        **self == *other.as_ref()
    }
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
