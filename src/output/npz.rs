//! Samples for other evaluation tools, as numpy's `.npz`, a zip of `.npy` arrays.
//!
//! The names are the same as in guided-diffusion's sampling scripts, so that its evaluator can read
//! them: `arr_0` are the images, `arr_1` the labels. (The evaluator's network needs three
//! channels.) The `.npy` header is described at
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use super::images::Images;
use crate::error::Result;
use crate::files;
use std::io::{self, Write};
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
    let [count, channels, height, width] = images.shape();
    if let Some(labels) = labels {
        assert!(labels.len() == count, "save_npz: {} labels for {count} images", labels.len());
    }
    let archive = || -> io::Result<Vec<u8>> {
        // The archive is made in memory, because `ZipWriter` prints a message if a file cannot be
        // written.
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        write_npy(&mut zip, "arr_0.npy", "|u1", &[count, height, width, channels], &images.interleaved())?;
        if let Some(labels) = labels {
            let bytes: Vec<u8> = labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect();
            write_npy(&mut zip, "arr_1.npy", "<i8", &[count], &bytes)?;
        }
        Ok(zip.finish()?.into_inner())
    };
    files::write_atomically(path, &archive().map_err(crate::Error::io(path))?)
}

/// One array of the archive; `element` is numpy's name for the element type.
fn write_npy<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    name: &str,
    element: &str,
    shape: &[usize],
    bytes: &[u8],
) -> io::Result<()> {
    // 50,000 images of 256 x 256 exceed the 4 GiB limit of plain zip.
    let options = SimpleFileOptions::default().large_file(bytes.len() >= u32::MAX as usize / 2);
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
    zip.write_all(header.as_bytes())?;
    zip.write_all(bytes)
}
