//! Image files of every kind: colors, depths, formats, orientation and resizing.

use crate::common::pictures::{Pictures, gray, png};
use degrain::data::{ChannelChoice, Dataset, LoadOptions, Resize, Split, load_with};
use image::{DynamicImage, ImageFormat, RgbImage};
use png::{BitDepth, ColorType, Encoder};
use std::io::Cursor;

fn read(file: &[u8], options: &LoadOptions) -> Dataset {
    load_with(Pictures::new(&[("a.png", file)]).path(), Split::Train, options).unwrap()
}

fn pixels(file: &[u8], channels: ChannelChoice) -> Vec<u8> {
    read(file, &LoadOptions { channels, ..LoadOptions::default() }).images.to_vec()
}

#[test]
fn image_png_of_every_kind_is_read() {
    let auto = |file: &[u8]| pixels(file, ChannelChoice::Auto);
    // A palette of black and red: pixels 0 1.
    let palette = png(2, 1, ColorType::Indexed, BitDepth::One, &[0b0100_0000]);
    assert_eq!(auto(&palette), [0, 255, 0, 0, 0, 0]);
    // Transparent parts are put on white: black at half, and fully transparent black.
    assert_eq!(auto(&png(2, 1, ColorType::GrayscaleAlpha, BitDepth::Eight, &[0, 128, 0, 0])), [127, 255]);
    assert_eq!(auto(&png(1, 1, ColorType::Rgba, BitDepth::Eight, &[10, 20, 30, 255])), [10, 20, 30]);
    assert_eq!(
        auto(&png(1, 1, ColorType::Rgba, BitDepth::Sixteen, &[255, 255, 0, 0, 128, 128, 255, 255])),
        [255, 0, 128]
    );
    assert_eq!(auto(&png(2, 1, ColorType::Grayscale, BitDepth::Sixteen, &[255, 255, 1, 1])), [255, 1]);
    assert_eq!(auto(&png(2, 1, ColorType::Rgb, BitDepth::Sixteen, &[0; 12])), [0; 6]);
    assert_eq!(auto(&png(2, 1, ColorType::Grayscale, BitDepth::One, &[0b0100_0000])), [0, 255]);
    assert_eq!(auto(&png(2, 1, ColorType::Grayscale, BitDepth::Four, &[0x0f])), [0, 255]);
    // A transparent color.
    let mut transparent = Vec::new();
    let mut encoder = Encoder::new(&mut transparent, 2, 1);
    encoder.set_trns(vec![0, 7]);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[7, 8]).unwrap();
    writer.finish().unwrap();
    assert_eq!(auto(&transparent), [255, 8]);
    // Interlaced, made by another program: 3 x 3 pixels 10, 20, ... 90.
    assert_eq!(auto(INTERLACED), [10, 20, 30, 40, 50, 60, 70, 80, 90]);
}

/// Channels are converted: gray is copied to three planes, colors have their luminance.
#[test]
fn image_channels_are_converted() {
    assert_eq!(pixels(&gray([5, 6]), ChannelChoice::Rgb), [5, 6, 5, 6, 5, 6]);
    let equal = png(2, 1, ColorType::Rgb, BitDepth::Eight, &[5, 5, 5, 200, 200, 200]);
    assert_eq!(pixels(&equal, ChannelChoice::Gray), [5, 200]);
    let notes = read(&png(1, 1, ColorType::Rgba, BitDepth::Eight, &[1, 2, 3, 4]), &LoadOptions::default()).notes;
    assert!(notes.join(" ").contains("1 image with transparent parts"), "{notes:?}");
}

/// A photograph of 8 x 4 pixels, whose left half is red.
fn photograph() -> RgbImage {
    RgbImage::from_fn(8, 4, |x, _| if x < 4 { image::Rgb([250, 10, 10]) } else { image::Rgb([10, 10, 250]) })
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(vec![]);
    DynamicImage::from(photograph()).write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// The content decides the format, not the name.
#[test]
fn image_formats_are_read() {
    for (format, error) in
        [(ImageFormat::Jpeg, 12), (ImageFormat::WebP, 0), (ImageFormat::Bmp, 0), (ImageFormat::Png, 0)]
    {
        let data = read(&encoded(format), &LoadOptions::default());
        assert_eq!(data.shape(), [3, 4, 8], "{format:?}");
        let wanted = |channel: usize, x: usize| photograph().get_pixel(x as u32, 0)[channel];
        for (place, &byte) in data.images.iter().enumerate() {
            let wanted = wanted(place / 32, place % 8);
            assert!(byte.abs_diff(wanted) <= error, "{format:?} {place}: {byte} instead of {wanted}");
        }
    }
}

/// A camera that was turned writes rows of the sensor, and a tag.
#[test]
fn image_orientation_is_obeyed() {
    let jpeg = encoded(ImageFormat::Jpeg);
    // EXIF with one entry: tag 0x0112, a short, the value. 6 is a quarter turn clockwise.
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend(((exif.len() + 2) as u16).to_be_bytes());
    turned.append(&mut exif);
    turned.extend(&jpeg[2..]);
    let data = read(&turned, &LoadOptions::default());
    assert_eq!(data.shape(), [3, 8, 4]);
    // The left half is now the upper half.
    assert!(data.images[0] > 230 && data.images[31] < 30, "{:?}", &data.images[..32]);
}

#[test]
fn image_sizes_are_brought_to_one() {
    // 4 rows of 8: a white square in the middle of black.
    let square: Vec<u8> = (0..32).map(|i| if (2..6).contains(&(i % 8)) { 255 } else { 0 }).collect();
    let file = png(8, 4, ColorType::Grayscale, BitDepth::Eight, &square);
    let at = |resolution: &str, resize| {
        let options = LoadOptions { resolution: resolution.parse().unwrap(), resize, ..LoadOptions::default() };
        let data = read(&file, &options);
        assert!(data.notes.join(" ").contains("images of 4x8 pixels"), "{:?}", data.notes);
        (data.shape(), data.images.to_vec())
    };
    // The center of the image is white everywhere.
    assert_eq!(at("4", Resize::Crop), ([1, 4, 4], vec![255; 16]));
    let (shape, pad) = at("8", Resize::Pad);
    assert_eq!(shape, [1, 8, 8]);
    assert_eq!((&pad[..16], &pad[48..]), (&[0; 16][..], &[0; 16][..]), "borders above and below");
    assert_eq!(pad[16..48], square);
    let (shape, stretched) = at("4x2", Resize::Stretch);
    assert_eq!(shape, [1, 4, 2]);
    // Each half has two black and two white columns.
    stretched.iter().for_each(|&byte| assert!((100..156).contains(&byte), "{stretched:?}"));
    assert_eq!(at("2x3", Resize::Crop).0, [1, 2, 3]);
}

/// Images of one size keep it; others become squares.
#[test]
fn image_default_resolution() {
    let image =
        |width, height| png(width, height, ColorType::Grayscale, BitDepth::Eight, &vec![9; (width * height) as usize]);
    let shape = |sizes: &[(u32, u32)]| {
        let files: Vec<(String, Vec<u8>)> =
            sizes.iter().enumerate().map(|(i, &(w, h))| (format!("{i}.png"), image(w, h))).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        load_with(Pictures::new(&files).path(), Split::Train, &LoadOptions::default()).unwrap().shape()
    };
    assert_eq!(shape(&[(30, 45), (30, 45)]), [1, 45, 30]);
    assert_eq!(shape(&[(128, 128)]), [1, 128, 128]);
    assert_eq!(shape(&[(129, 129)]), [1, 64, 64]);
    assert_eq!(shape(&[(100, 90), (70, 80), (300, 200)]), [1, 64, 64]);
    assert_eq!(shape(&[(20, 30), (40, 24), (50, 50)]), [1, 24, 24]);
}

/// Decoding in parallel keeps the order and does not depend on the number of files.
#[test]
fn image_order_is_that_of_the_names() {
    let files: Vec<(String, Vec<u8>)> =
        (0..700u32).map(|n| (format!("{n:04}.png"), gray([n as u8, (n >> 8) as u8]))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    let cache = tempfile::tempdir().unwrap();
    let options = LoadOptions { cache: Some(cache.path().into()), ..LoadOptions::default() };
    let data = load_with(Pictures::new(&files).path(), Split::Train, &options).unwrap();
    for n in 0..700u32 {
        assert_eq!(data.image(n as usize), [n as u8, (n >> 8) as u8]);
    }
}

/// A PNG of 3 x 3 pixels in seven passes (Adam7).
const INTERLACED: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 3, 8, 0, 0, 0, 1, 4, 68, 218,
    245, 0, 0, 0, 23, 73, 68, 65, 84, 120, 218, 99, 224, 98, 144, 99, 112, 139, 98, 16, 97, 8, 96, 208, 48, 178, 1, 0,
    11, 29, 1, 195, 241, 231, 245, 207, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];
