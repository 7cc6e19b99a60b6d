//! Reads images of the model's size from a data set or a file.

use degrain::data::{LoadOptions, Split, load_with};
use degrain::output::{Picture, counted};
use degrain::{Error, Result};
use std::path::Path;

/// Which images of a test split to read.
pub struct TestImages {
    /// The option that chose the first image.
    pub option: &'static str,
    /// Number of the first image.
    pub first: usize,
    /// Number of images.
    pub count: usize,
    /// How they are read.
    pub options: LoadOptions,
}

/// Images of the test split of a data set, in [-1, 1], with their labels.
pub fn test_images(data: &Path, wanted: TestImages, image: [u32; 3]) -> Result<(Vec<f32>, Vec<u32>)> {
    let set = load_with(data, Split::Test, &wanted.options)?;
    if set.shape() != image {
        let [ours, theirs] = [image, set.shape()].map(|[c, h, w]| format!("{c}x{h}x{w}"));
        return Err(Error::file(data, format!("its images are {theirs}, but the model's are {ours}")));
    }
    let TestImages { option, first, count, .. } = wanted;
    let there = counted(set.count, "test image");
    let Some(left) = set.count.checked_sub(first).filter(|&left| left > 0) else {
        let last = set.count.saturating_sub(1);
        return Err(Error::Config(format!("{option} {first}: {} has {there}, 0 to {last}", data.display())));
    };
    if count > left {
        return Err(Error::Config(format!(
            "--count {count}: {} has {there}, {left} of them from {option} {first}",
            data.display()
        )));
    }
    let bytes = &set.images[first * set.pixels()..][..count * set.pixels()];
    Ok((bytes.iter().map(|&b| f32::from(b) / 127.5 - 1.0).collect(), set.labels[first..first + count].to_vec()))
}

/// Root mean square difference of two sets of values of equal length.
pub fn rms_difference(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    (squares / a.len() as f64).sqrt()
}

/// A PNG file of the model's size, `[C, H, W]` in bytes.
pub fn read_png(path: &Path, [channels, height, width]: [u32; 3], what: &str) -> Result<Vec<u8>> {
    let picture = Picture::load_png(path)?;
    let found = [picture.channels, picture.height, picture.width].map(|n| n as u32);
    if found[1..] != [height, width] {
        let problem = format!("the {what} is {}x{}, but the model's images are {height}x{width}", found[1], found[2]);
        return Err(Error::file(path, problem));
    }
    if found[0] != channels {
        let problem = format!(
            "the {what} has {}, and the {what} for this model must have {channels}",
            counted(found[0], "channel")
        );
        return Err(Error::file(path, problem));
    }
    let (plane, channels) = (picture.height * picture.width, picture.channels);
    Ok((0..plane * channels).map(|i| picture.bytes[i % plane * channels + i / plane]).collect())
}
