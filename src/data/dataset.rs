//! A data set: images and labels of one split, and the statistics of the pixels.

use super::pixels::Pixels;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// The two parts in which data sets are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images, used only by evaluations.
    Test,
}

/// Images and labels of one split, in the order of the files.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `MNIST`, `Fashion-MNIST`, `CIFAR-10` or `ImageNet 32x32`; `images` for a folder of images;
    /// `idx` for IDX files with an unknown checksum.
    pub name: String,
    /// `[count, channels, height, width]` bytes, row-major; color images are planar.
    pub images: Pixels,
    /// `[count]`, each below [`Dataset::classes`].
    pub labels: Vec<u32>,
    /// Number of images.
    pub count: usize,
    /// 1 for grayscale, 3 for color.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Number of classes: the published one for a known set, otherwise the number of label names,
    /// or the largest label plus one. A data set without labels has one class, `image`, so that
    /// models with and without classes can be trained on it.
    pub classes: usize,
    /// One name per class; the class number if the data set has no names.
    pub class_names: Vec<String>,
    /// Whether images may be mirrored: true for photographs, false for digits and letters.
    pub mirrors: bool,
    /// The files that were read, for the run's manifest.
    pub files: Vec<DataFile>,
    /// What was done when the files were read, for the user: images that were resized or skipped,
    /// files that are there twice, and the cache file.
    pub notes: Vec<String>,
    /// Smallest, largest, mean and standard deviation of all pixels, scaled to [-1, 1].
    pub statistics: Statistics,
}

/// A file that was read, or a folder of image files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Path of the file or folder.
    pub path: PathBuf,
    /// SHA-256 in lower-case hexadecimal, of the decompressed content, so that it does not depend
    /// on the compression. For an npz file: of its arrays `data` and `labels` with their headers.
    /// For a folder of images: of size, channels and way of resizing, and of the name and the
    /// SHA-256 of each file.
    pub sha256: String,
    /// Description of the published file with this checksum, such as `MNIST training images`;
    /// `None` for any other content.
    pub known: Option<&'static str>,
}

/// Statistics of all pixels on the scale of the models: byte 0 is -1, byte 255 is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Smallest value; -1 if a byte is 0.
    pub min: f64,
    /// Largest value; 1 if a byte is 255.
    pub max: f64,
    /// Mean; -0.7387 for MNIST.
    pub mean: f64,
    /// Standard deviation; 0.6162 for MNIST.
    pub std: f64,
}

impl Statistics {
    /// Root mean square, sqrt(mean² + std²); 0.9620 for MNIST.
    pub fn rms(&self) -> f64 {
        self.mean.hypot(self.std)
    }
}

impl Dataset {
    /// A data set from arrays: images `[N, C, H, W]`, the class of each image, and the shape
    /// `[C, H, W]` of an image. Classes are named by their numbers. Images may not be mirrored.
    ///
    /// ```
    /// use degrain::data::Dataset;
    ///
    /// let images = vec![0, 0, 255, 255]; // a black and a white image of 1 x 2 pixels
    /// let data = Dataset::from_arrays("gray levels", images, vec![0, 1], [1, 1, 2]);
    /// assert_eq!((data.count, data.classes), (2, 2));
    /// assert_eq!(data.statistics.std, 1.0);
    /// ```
    ///
    /// # Panics
    /// If there are no images, or the sizes do not fit each other.
    #[track_caller]
    pub fn from_arrays(name: &str, images: Vec<u8>, labels: Vec<u32>, shape: [u32; 3]) -> Dataset {
        let [channels, height, width] = shape.map(|n| n as usize);
        assert!(!labels.is_empty(), "a data set needs at least one image");
        assert_eq!(images.len(), labels.len() * channels * height * width, "a label for each image");
        let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
        Dataset {
            name: name.into(),
            count: labels.len(),
            statistics: Statistics::new(&images),
            images: images.into(),
            labels,
            channels,
            height,
            width,
            classes,
            class_names: (0..classes).map(|class| class.to_string()).collect(),
            mirrors: false,
            files: vec![],
            notes: vec![],
        }
    }

    /// SHA-256 of the content in lower-case hexadecimal: of the files' checksums, or of images and
    /// labels in memory.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        if self.files.is_empty() {
            hash.update(&*self.images);
            self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        }
        self.files.iter().for_each(|file| hash.update(&file.sha256));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether every file is a published one, so that the name says what the data set holds.
    pub fn is_published(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|file| file.known.is_some())
    }

    /// The bytes of image `index`: `[channels, height, width]`.
    pub fn image(&self, index: usize) -> &[u8] {
        let pixels = self.pixels();
        &self.images[index * pixels..][..pixels]
    }

    /// Exchanges two images with their labels.
    pub fn swap(&mut self, a: usize, b: usize) {
        let pixels = self.pixels();
        if a != b {
            let (low, high) = (a.min(b), a.max(b));
            let (head, tail) = self.images.split_at_mut(high * pixels);
            head[low * pixels..][..pixels].swap_with_slice(&mut tail[..pixels]);
            self.labels.swap(a, b);
        }
    }

    /// Channels, rows and columns of an image.
    pub fn shape(&self) -> [u32; 3] {
        [self.channels, self.height, self.width].map(|n| n as u32)
    }

    /// Number of images of each class.
    pub fn class_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.classes];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// Values in one image: channels x height x width.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// A data set with other images of the same shape: bytes `[N, C, H, W]` and their classes.
    ///
    /// # Panics
    /// If there is not one label for each image.
    #[track_caller]
    pub fn of_kind(&self, name: &str, images: Vec<u8>, labels: Vec<u32>) -> Dataset {
        assert_eq!(images.len(), labels.len() * self.pixels(), "a label for each image");
        Dataset {
            name: name.into(),
            count: labels.len(),
            statistics: Statistics::new(&images),
            images: images.into(),
            labels,
            files: vec![],
            notes: vec![],
            class_names: self.class_names.clone(),
            ..*self
        }
    }
}

impl Statistics {
    /// Counts the 256 values in one pass, which is exact for any number of pixels.
    pub(super) fn new(images: &[u8]) -> Statistics {
        let mut counts = [0u64; 256];
        images.iter().for_each(|&byte| counts[byte as usize] += 1);
        Statistics::of_counts(&counts)
    }

    /// The statistics of images in which the byte `i` occurs `counts[i]` times.
    pub(super) fn of_counts(counts: &[u64]) -> Statistics {
        let total: u64 = counts.iter().sum();
        let scaled = |byte: usize| byte as f64 / 127.5 - 1.0;
        let moment = |f: &dyn Fn(f64) -> f64| {
            let sum: f64 = counts.iter().enumerate().map(|(byte, &n)| n as f64 * f(scaled(byte))).sum();
            sum / total as f64
        };
        let mean = moment(&|x| x);
        Statistics {
            min: counts.iter().position(|&n| n > 0).map_or(f64::NAN, scaled),
            max: counts.iter().rposition(|&n| n > 0).map_or(f64::NAN, scaled),
            mean,
            std: moment(&|x| (x - mean).powi(2)).sqrt(),
        }
    }
}
