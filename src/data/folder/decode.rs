//! Decodes one image file and brings it to the size and channels of the data set.

use crate::data::load_options::Resize;
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Largest memory of one decoded image: 16 bits in four channels of 128 million pixels.
const LARGEST: u64 = 1 << 30;
const TOO_LARGE: &str = "needs more than 1 GiB of memory: scale it down";
/// Images with more memory are decoded one at a time.
const LARGE: u64 = 1 << 26;
static ONE_LARGE: Mutex<()> = Mutex::new(());

/// A result with a message that follows the name of the file.
pub(super) type Decoding<T> = Result<T, String>;

/// What a file says of its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Rows, as the image is to be seen.
    pub height: u32,
    /// Columns, as the image is to be seen.
    pub width: u32,
    /// Whether it is gray by its format.
    pub gray: bool,
}

/// Size and channels of the images of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub resize: Resize,
}

impl Target {
    /// Bytes of an image.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Bytes of `count` images.
    pub fn bytes(&self, count: usize) -> u128 {
        count as u128 * self.pixels() as u128
    }
}

/// An image of the target's size.
pub(super) struct Decoded {
    /// `[channels, height, width]`.
    pub bytes: Vec<u8>,
    /// Whether a part of it was transparent.
    pub transparent: bool,
}

/// Reads the header of an image file.
pub(super) fn read_header(bytes: &[u8]) -> Decoding<Header> {
    without_panic(|| header(bytes))
}

/// Decodes an image file. Transparent parts are put on white. 16 bits become 8.
pub(super) fn decode(bytes: &[u8], target: &Target) -> Decoding<Decoded> {
    without_panic(|| decoded(bytes, target))
}

/// A decoder that panics has met a damaged file.
fn without_panic<T>(decode: impl FnOnce() -> Decoding<T>) -> Decoding<T> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err("is damaged (the decoder failed): replace or remove it".into()))
}

fn header(bytes: &[u8]) -> Decoding<Header> {
    let mut decoder = decoder(bytes)?;
    let (width, height) = decoder.dimensions();
    let gray = matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
    let turned = matches!(
        orientation(&mut decoder),
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if turned { (height, width) } else { (width, height) };
    Ok(Header { height, width, gray })
}

fn decoded(bytes: &[u8], target: &Target) -> Decoding<Decoded> {
    let mut decoder = decoder(bytes)?;
    let large = decoder.total_bytes() > LARGE;
    let _one = large.then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    let orientation = orientation(&mut decoder);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(&error))?;
    check_end(bytes)?;
    image.apply_orientation(orientation);
    let transparent = image.color().has_alpha();
    let (image, transparent) = if transparent { on_white(&image) } else { (image, false) };
    let [height, width] = [image.height(), image.width()];
    let (pixels, kind) = if target.channels == 1 {
        (image.into_luma8().into_raw(), PixelType::U8)
    } else {
        (image.into_rgb8().into_raw(), PixelType::U8x3)
    };
    let interleaved = resized(pixels, kind, [height, width], target)?;
    let plane = target.height * target.width;
    let bytes = (0..target.channels)
        .flat_map(|channel| (0..plane).map(move |pixel| pixel * target.channels + channel))
        .map(|place| interleaved[place])
        .collect();
    Ok(Decoded { bytes, transparent })
}

fn decoder(bytes: &[u8]) -> Decoding<impl ImageDecoder> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if reader.format().is_none() {
        let foreign = foreign(bytes);
        return Err(if foreign.contains("convert") {
            foreign.into()
        } else {
            format!("{foreign}: replace or remove it")
        });
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    // A damaged header can promise any size.
    if decoder.total_bytes() > LARGEST { Err(TOO_LARGE.into()) } else { Ok(decoder) }
}

/// What a file holds that is no image of a known format.
fn foreign(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "is empty",
        [b'<', ..] => "holds a web page or an SVG drawing, not a PNG, JPEG, WebP or BMP image",
        [b'P', b'K', 3, 4, ..] => "holds a zip archive, not an image",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a' | b'h' | b'm', b'e' | b'i' | b's' | b'v', ..] => {
            "holds a HEIC or AVIF image, which is not read: convert it to PNG"
        }
        _ if bytes.starts_with(b"version https://git-lfs") => {
            "is a pointer of Git LFS, not the image (`git lfs pull` fetches it)"
        }
        _ if bytes.iter().all(|&byte| byte == 0) => "holds only zeros, as after a crash",
        _ => "is not a PNG, JPEG, WebP or BMP image, or its start is damaged",
    }
}

fn unreadable(error: &image::ImageError) -> String {
    match error {
        image::ImageError::Limits(_) => TOO_LARGE.into(),
        image::ImageError::Unsupported(error) => format!("cannot be read: {error}: convert it to an ordinary PNG"),
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "is truncated: replace or remove it".into()
        }
        error => {
            // Some messages have several lines.
            let words: Vec<String> = error.to_string().split_whitespace().map(String::from).collect();
            format!("is damaged ({}): replace or remove it", words.join(" ").trim_end_matches('.'))
        }
    }
}

/// A damaged tag does not make an image unreadable.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Refuses a file that was cut: the decoders fill what is missing.
fn check_end(bytes: &[u8]) -> Decoding<()> {
    let whole = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg_ends(bytes),
        Ok(ImageFormat::Png) => png_ends(bytes),
        _ => true,
    };
    if whole { Ok(()) } else { Err("is truncated, because its end marker is missing: replace or remove it".into()) }
}

/// Whether the marker EOI follows the first scan. In a scan, the byte FF is followed by 00 or by
/// the number of a restart marker.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[start, marker, high, low]) = bytes.get(at..at + 4) {
        // Any number of bytes FF may precede a marker. Some programs write other bytes there, too.
        if start != 0xff || marker == 0xff {
            at += 1;
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xda {
            return bytes.get(at..).is_some_and(|scan| scan.windows(2).any(|pair| pair == [0xff, 0xd9]));
        }
    }
    false
}

/// Whether the chunks go on to IEND.
fn png_ends(bytes: &[u8]) -> bool {
    let mut at = 8;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..at + 8) {
        // Length, kind, content and checksum.
        let next = at.saturating_add(12).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
        if kind == b"IEND" {
            return next <= bytes.len();
        }
        at = next;
    }
    false
}

/// The image on white, and whether a part of it was transparent.
fn on_white(image: &DynamicImage) -> (DynamicImage, bool) {
    let mix = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (width, height) = (image.width(), image.height());
    let mut transparent = false;
    if matches!(image.color(), ColorType::La8 | ColorType::La16) {
        let pixels = image.to_luma_alpha8();
        let gray = pixels.pixels().map(|&image::LumaA([value, alpha])| {
            transparent |= alpha < 255;
            mix(value, alpha)
        });
        let gray = gray.collect();
        let image = image::GrayImage::from_raw(width, height, gray).map(DynamicImage::ImageLuma8);
        return (image.unwrap_or_default(), transparent);
    }
    let pixels = image.to_rgba8();
    let rgb = pixels.pixels().flat_map(|&image::Rgba([r, g, b, alpha])| {
        transparent |= alpha < 255;
        [r, g, b].map(|value| mix(value, alpha))
    });
    let rgb = rgb.collect();
    let image = image::RgbImage::from_raw(width, height, rgb).map(DynamicImage::ImageRgb8);
    (image.unwrap_or_default(), transparent)
}

/// The pixels at the target's size: `[height, width, channels]`.
fn resized(pixels: Vec<u8>, kind: PixelType, [height, width]: [u32; 2], target: &Target) -> Decoding<Vec<u8>> {
    let [wanted_height, wanted_width] = [target.height as u32, target.width as u32];
    if [height, width] == [wanted_height, wanted_width] {
        return Ok(pixels);
    }
    let failed = |error: &dyn std::fmt::Display| format!("cannot be resized: {error}");
    let source = Image::from_vec_u8(width, height, pixels, kind).map_err(|error| failed(&error))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    let [h, w, wanted_h, wanted_w] = [height, width, wanted_height, wanted_width].map(f64::from);
    let (options, [inner_height, inner_width]) = match target.resize {
        Resize::Stretch => (options, [wanted_height, wanted_width]),
        Resize::Crop => {
            // The largest part of the source with the target's shape, from its center.
            let scale = (wanted_h / h).max(wanted_w / w);
            let [part_h, part_w] = [(wanted_h / scale).min(h), (wanted_w / scale).min(w)];
            (options.crop((w - part_w) / 2.0, (h - part_h) / 2.0, part_w, part_h), [wanted_height, wanted_width])
        }
        Resize::Pad => {
            let scale = (wanted_h / h).min(wanted_w / w);
            let side = |side: f64, wanted: u32| ((side * scale).round() as u32).clamp(1, wanted);
            (options, [side(h, wanted_height), side(w, wanted_width)])
        }
    };
    let mut inner = Image::new(inner_width, inner_height, kind);
    Resizer::new().resize(&source, &mut inner, &options).map_err(|error| failed(&error))?;
    let inner = inner.into_vec();
    if [inner_height, inner_width] == [wanted_height, wanted_width] {
        return Ok(inner);
    }
    let row = inner_width as usize * target.channels;
    let mut padded = vec![0; target.height * target.width * target.channels];
    let top = (target.height - inner_height as usize) / 2;
    let left = (target.width - inner_width as usize) / 2 * target.channels;
    let rows = padded.chunks_exact_mut(target.width * target.channels).skip(top);
    rows.zip(inner.chunks_exact(row)).for_each(|(to, from)| to[left..left + row].copy_from_slice(from));
    Ok(padded)
}
