//! Brightness of sets of images, which feature distances barely see: the mean pixel value, and the
//! noise left in the corners.

use serde::{Deserialize, Serialize};

/// Corner pixels above this value are counted, of 255.
pub const DARK: u8 = 16;

/// Brightness of a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brightness {
    /// Mean pixel value, 0 to 255.
    pub mean: f64,
    /// Share of pixels above [`DARK`] in the four corners: squares with sides of an eighth of the
    /// image's shorter side, at least one pixel.
    pub bright_corners: f64,
}

impl Brightness {
    /// The brightness of images `[N, C, H, W]`, given C, H and W.
    ///
    /// ```
    /// use degrain::metrics::brightness::Brightness;
    ///
    /// let image = [255, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 16];
    /// let brightness = Brightness::of(&image, [1, 4, 4]);
    /// assert_eq!(brightness, Brightness { mean: 271.0 / 16.0, bright_corners: 0.25 });
    /// ```
    ///
    /// # Panics
    /// If there are no images, or a part of one.
    #[track_caller]
    pub fn of(images: &[u8], [channels, height, width]: [usize; 3]) -> Brightness {
        let pixels = channels * height * width;
        assert!(!images.is_empty() && images.len().is_multiple_of(pixels), "{} bytes of images", images.len());
        let side = (height.min(width) / 8).max(1);
        let edge = |k: usize, length: usize| k < side || k >= length - side;
        let corner: Vec<usize> =
            (0..pixels).filter(|pixel| edge(pixel / width % height, height) && edge(pixel % width, width)).collect();
        let sum: u64 = images.iter().map(|&byte| u64::from(byte)).sum();
        let bright = |image: &[u8]| corner.iter().filter(|&&pixel| image[pixel] > DARK).count();
        let count = images.len() / pixels;
        Brightness {
            mean: sum as f64 / images.len() as f64,
            bright_corners: images.chunks(pixels).map(bright).sum::<usize>() as f64 / (count * corner.len()) as f64,
        }
    }
}
