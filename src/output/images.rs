//! Images as models use them (planar batches), and pictures as files store them (interleaved).

use crate::error::Result;
use crate::files;
use std::borrow::Cow;
use std::path::Path;

/// Converts values of a model to bytes: `round(255 clamp(x/2 + 1/2, 0, 1))` with ties to even, in
/// f32.
///
/// diffusers does the same (`VaeImageProcessor.denormalize`, then `numpy_to_pil`), so equal samples
/// give equal bytes. NaN becomes 0.
pub fn to_bytes(images: &[f32]) -> Vec<u8> {
    images.iter().map(|&x| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8).collect()
}

/// A batch of images: `[count, channels, height, width]` bytes, row-major, as in models and data
/// sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) count: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl<'a> Images<'a> {
    /// Bytes of the shape `[count, channels, height, width]`.
    ///
    /// # Panics
    /// If the shape does not match the length, is empty, or has a number of channels other than 1
    /// (gray) or 3 (red, green, blue).
    #[track_caller]
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>, shape: [usize; 4]) -> Images<'a> {
        let bytes = bytes.into();
        let [count, channels, height, width] = shape;
        assert!(channels == 1 || channels == 3, "Images: {channels} channels in {shape:?}; a picture has 1 or 3");
        assert!(!shape.contains(&0), "Images: nothing to show in the shape {shape:?}");
        let length: usize = shape.iter().product();
        assert!(bytes.len() == length, "Images: {} bytes for the shape {shape:?} of {length}", bytes.len());
        Images { bytes, count, channels, height, width }
    }

    /// Values, nominally in [-1, 1], of the shape `[count, channels, height, width]`, converted by
    /// [`to_bytes`].
    ///
    /// # Panics
    /// As [`Images::new`].
    #[track_caller]
    pub fn from_f32(values: &[f32], shape: [usize; 4]) -> Images<'static> {
        Images::new(to_bytes(values), shape)
    }

    /// `[count, channels, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.count, self.channels, self.height, self.width]
    }

    /// The bytes, `[count, channels, height, width]`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same images as `[count, height, width, channels]`: the order of image files and of
    /// numpy.
    pub fn interleaved(&self) -> Vec<u8> {
        let plane = self.height * self.width;
        let image = self.channels * plane;
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for start in (0..self.bytes.len()).step_by(image) {
            for pixel in 0..plane {
                bytes.extend((0..self.channels).map(|channel| self.bytes[start + channel * plane + pixel]));
            }
        }
        bytes
    }
}

/// One picture: `[height, width, channels]` bytes; 1 channel is gray, 3 are red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `[height, width, channels]`, row-major.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// The content of a PNG file, with `text` (keyword, value) in text chunks, such as the settings
    /// of the samples.
    ///
    /// # Panics
    /// If PNG does not allow a keyword: it must have 1 to 79 characters of Latin-1.
    #[track_caller]
    pub fn to_png(&self, text: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = header(&mut bytes, self, text, None);
        writer.write_image_data(&self.bytes).expect("a picture holds as many bytes as its size needs");
        writer.finish().expect("memory takes all bytes");
        bytes
    }

    /// Writes a PNG file with `text` (keyword, value) in text chunks.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) naming `path`.
    ///
    /// # Panics
    /// As [`Picture::to_png`].
    #[track_caller]
    pub fn save_png(&self, path: &Path, text: &[(&str, &str)]) -> Result<()> {
        files::write_atomically(path, &self.to_png(text))
    }
}

/// Starts a PNG in memory: size, color, text, and the number of frames of an animation.
#[track_caller]
pub(super) fn header<'a>(
    bytes: &'a mut Vec<u8>,
    picture: &Picture,
    text: &[(&str, &str)],
    frames: Option<u32>,
) -> png::Writer<&'a mut Vec<u8>> {
    let size = |n: usize| u32::try_from(n).expect("a picture's side fits in 32 bits");
    let mut encoder = png::Encoder::new(bytes, size(picture.width), size(picture.height));
    // Gray images have one channel (Pillow's mode L), because readers of grayscale data sets expect
    // it.
    encoder.set_color(if picture.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    if let Some(frames) = frames {
        encoder.set_animated(frames, 0).expect("an animation has at least one frame");
    }
    for &(keyword, value) in text {
        // tEXt is read everywhere but holds Latin-1 only; iTXt is UTF-8. Pillow shows both as
        // `image.text[keyword]`.
        let add = if value.is_ascii() { png::Encoder::add_text_chunk } else { png::Encoder::add_itxt_chunk };
        add(&mut encoder, keyword.to_string(), value.to_string()).expect("the encoder only stores it");
    }
    encoder.write_header().unwrap_or_else(|error| panic!("Picture: PNG refuses size or text keywords: {error}"))
}
