//! Samples for other evaluation tools, as numpy's `.npz`, a zip of `.npy` arrays.
//!
//! The names are the same as in guided-diffusion's sampling scripts, so that its evaluator can read
//! them: `arr_0` are the images, `arr_1` the labels. (The evaluator's network needs three
//! channels.) The `.npy` header is described at
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::images::Images;
use crate::error::Result;
use crate::files;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use zip::{ZipWriter, write::SimpleFileOptions};

/// Writes `arr_0`, u8 `[count, height, width, channels]`, and with `labels` also `arr_1`, i64
/// `[count]`.
///
/// # Errors
/// [`crate::Error::Io`] naming `path`.
///
/// # Panics
/// If there is not one label for each image.
#[track_caller]
pub fn save_npz(path: &Path, images: &Images, labels: Option<&[u32]>) -> Result<()> {
    let count = images.shape()[0];
    if let Some(labels) = labels {
        assert!(labels.len() == count, "save_npz: {} labels for {count} images", labels.len());
    }
    let pixels = images.bytes().len() / count;
    let mut image = |n: usize, bytes: &mut [u8]| {
        bytes.copy_from_slice(&images.bytes()[n * pixels..][..pixels]);
        Ok(())
    };
    let label = labels.map(|labels| |n: usize| labels[n]);
    stream_npz(path, images.shape(), &mut image, label.as_ref().map(|label| label as &dyn Fn(usize) -> u32))
}

/// [`save_npz`] for images that do not fit in memory: `image` writes the bytes
/// `[channels, height, width]` of image n, and `label` returns its label.
///
/// # Errors
/// [`crate::Error::Io`] naming `path`, and the errors of `image`.
pub fn stream_npz(
    path: &Path,
    shape: [usize; 4],
    image: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    label: Option<&dyn Fn(usize) -> u32>,
) -> Result<()> {
    let [count, channels, height, width] = shape;
    let one = [1, channels, height, width];
    let mut failed = None;
    let written = files::write_atomically_with(path, |file| {
        let mut zip = ZipWriter::new(ErrorOnce { inner: file, failed: false });
        let pixels = channels * height * width;
        start_npy(&mut zip, "arr_0.npy", "|u1", &[count, height, width, channels])?;
        let mut bytes = vec![0; pixels];
        for n in 0..count {
            if let Err(error) = image(n, &mut bytes) {
                failed = Some(error);
                return Err(io::ErrorKind::Other.into());
            }
            zip.write_all(&Images::new(&bytes, one).interleaved())?;
        }
        if let Some(label) = label {
            start_npy(&mut zip, "arr_1.npy", "<i8", &[count])?;
            for n in 0..count {
                zip.write_all(&i64::from(label(n)).to_le_bytes())?;
            }
        }
        zip.finish().map(|_| ()).map_err(io::Error::from)
    });
    failed.map_or(written, Err)
}

/// Starts an array of the archive; `element` is numpy's name for the element type. Its elements
/// follow.
fn start_npy<W: Write + Seek>(zip: &mut ZipWriter<W>, name: &str, element: &str, shape: &[usize]) -> io::Result<()> {
    // 50,000 images of 256 x 256 exceed the 4 GiB limit of plain zip.
    let size = if element == "<i8" { 8 } else { 1 };
    let bytes = shape.iter().fold(size, |bytes: usize, &n| bytes.saturating_mul(n));
    let options = SimpleFileOptions::default().large_file(bytes >= u32::MAX as usize / 2);
    zip.start_file(name, options)?;
    // A tuple of one element is written `(5,)`. Longer tuples may end with a comma too.
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // Magic, version and length take 10 bytes; the whole is padded to a multiple of 64 and ends in
    // a newline.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    zip.write_all(b"\x93NUMPY\x01\x00")?;
    zip.write_all(&(header.len() as u16).to_le_bytes())?;
    zip.write_all(header.as_bytes())
}

/// Reports its first error and then drops everything, because `ZipWriter` prints a message if it
/// cannot finish an archive that is dropped.
struct ErrorOnce<W> {
    inner: W,
    failed: bool,
}

impl<W> ErrorOnce<W> {
    fn once<T>(&mut self, otherwise: T, run: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Ok(otherwise);
        }
        let result = run(&mut self.inner);
        // Interrupted calls are repeated.
        self.failed = result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

impl<W: Write> Write for ErrorOnce<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.once(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.once((), |inner| inner.flush())
    }
}

impl<W: Seek> Seek for ErrorOnce<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.once(0, |inner| inner.seek(to))
    }
}
