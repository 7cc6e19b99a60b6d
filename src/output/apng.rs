//! Animated PNG files, which show the denoising. Browsers play them; other viewers show the first
//! frame.

use super::images::{Picture, header};
use crate::error::Result;
use crate::files;
use std::path::Path;

/// Writes `frames` as an endless loop. Each is displayed for `delay_ms` milliseconds, the last for
/// `last_ms`. `text` is as in [`Picture::save_png`].
///
/// # Errors
/// [`crate::Error::Io`] naming `path`.
///
/// # Panics
/// If there are no frames or they differ in size, and as [`Picture::to_png`].
#[track_caller]
pub fn save_apng(path: &Path, frames: &[Picture], delay_ms: u16, last_ms: u16, text: &[(&str, &str)]) -> Result<()> {
    let Some(first) = frames.first() else { panic!("save_apng: no frames") };
    let size = |picture: &Picture| (picture.height, picture.width, picture.channels);
    if let Some(odd) = frames.iter().find(|frame| size(frame) != size(first)) {
        panic!("save_apng: frames of (height, width, channels) {:?} and {:?}", size(first), size(odd));
    }
    let mut bytes = Vec::new();
    let count = u32::try_from(frames.len()).expect("fewer than 2^32 frames");
    let mut writer = header(&mut bytes, first, text, Some(count));
    for (n, frame) in frames.iter().enumerate() {
        let delay = if n + 1 == frames.len() { last_ms } else { delay_ms };
        writer.set_frame_delay(delay, 1000).expect("the header says that it is animated");
        writer.write_image_data(&frame.bytes).expect("a picture holds as many bytes as its size needs");
    }
    writer.finish().expect("all frames were written");
    files::write_atomically(path, &bytes)
}
