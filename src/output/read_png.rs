//! Reading of PNG files: gray or RGB, with 8 bits per channel.

use super::images::Picture;
use crate::error::{Error, Result};
use png::{BitDepth, ColorType};
use std::io::Cursor;
use std::path::Path;

/// The largest ratio of content to compressed bytes of deflate: a match of 258 bytes takes two
/// bits.
const LARGEST_RATIO: u128 = 4 * 258;
/// The first bytes of every PNG file.
const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

impl Picture {
    /// Reads a PNG file of 8 bits per channel, gray or RGB: a file of [`Picture::save_png`], or a
    /// user's own image.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::File`] if it is damaged, truncated or not such
    /// a PNG.
    pub fn load_png(path: &Path) -> Result<Picture> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        decode(&bytes).map_err(|problem| Error::file(path, problem))
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<Picture, String> {
    if !bytes.starts_with(&SIGNATURE) {
        return Err("is not a PNG file: convert it to a gray or RGB PNG with 8 bits per channel".into());
    }
    let damaged = |error: &dyn std::fmt::Display| format!("is not a readable PNG ({error}): replace or remove it");
    let unreadable = |error: png::DecodingError| damaged(&error);
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().map_err(unreadable)?;
    let info = reader.info();
    let channels = channels(info)?;
    let [height, width] = [info.height as usize, info.width as usize];
    // A damaged header can promise any size, which must not be allocated.
    let size = channels as u128 * height as u128 * width as u128;
    if size > LARGEST_RATIO * bytes.len() as u128 {
        return Err(damaged(&format_args!("{width} x {height} pixels cannot be in {} bytes", bytes.len())));
    }
    let mut pixels = vec![0; size as usize];
    reader.next_frame(&mut pixels).map_err(unreadable)?;
    // Reads to the end, to detect a truncated file.
    reader.finish().map_err(unreadable)?;
    Ok(Picture { height, width, channels, bytes: pixels })
}

/// 1 for gray, 3 for RGB.
fn channels(info: &png::Info<'_>) -> std::result::Result<usize, String> {
    match (info.color_type, info.bit_depth) {
        (ColorType::Indexed, _) => Err("is a PNG with a palette: convert it to RGB with 8 bits per channel".into()),
        (ColorType::GrayscaleAlpha | ColorType::Rgba, _) => Err("is a PNG with an alpha channel: put it on a \
            background and save it as grayscale or RGB without alpha"
            .into()),
        _ if info.trns.is_some() => Err("is a PNG with a transparent color: save it without transparency".into()),
        (ColorType::Grayscale, BitDepth::Eight) => Ok(1),
        (ColorType::Rgb, BitDepth::Eight) => Ok(3),
        (_, depth) => Err(format!("is a PNG of {} bits per channel: convert it to 8 bits", depth as u8)),
    }
}
