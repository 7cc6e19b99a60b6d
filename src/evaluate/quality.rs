//! Distances between samples and data in the space of the extracted features.

use super::evaluation::{ImageCounts, Quality};
use crate::Result;
use crate::metrics::bootstrap::frechet_error;
use crate::metrics::feature_extractor::Features;
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::kid::kernel_inception_distance;
use crate::metrics::neighbors::{NEIGHBORS, precision_recall};
use crate::metrics::subset::subset;

/// Largest number of images on each side of precision and recall. Their cost grows with its square.
const MAX_NEIGHBOR_IMAGES: usize = 5_000;

/// Id of the subset of training images for reference distances.
const REFERENCE_SUBSET: u32 = 1_000;
/// Id of the subsets for precision and recall.
const NEIGHBOR_SUBSET: u32 = 1_001;

/// As many random training images as there are samples, at most all of `count`: the images that the
/// values of a perfect model are measured on.
pub(super) fn reference_subset(count: usize, samples: usize) -> Vec<usize> {
    subset(count, samples, [REFERENCE_SUBSET, 0], 0)
}

/// Features of the data set. They are computed once and compared with all samples.
pub(super) struct Reference {
    /// Features of the training images.
    pub train: Features,
    /// Features of the test images.
    pub test: Features,
    train_gaussian: Gaussian,
    test_gaussian: Gaussian,
}

impl Reference {
    /// Fits Gaussians to the features.
    ///
    /// # Errors
    /// Too few images for a covariance.
    pub fn fit(train: Features, test: Features) -> Result<Reference> {
        let train_gaussian = Gaussian::fit(&train.features, train.width)?;
        let test_gaussian = Gaussian::fit(&test.features, test.width)?;
        Ok(Reference { train, test, train_gaussian, test_gaussian })
    }

    /// Frechet distance to the test images.
    ///
    /// # Errors
    /// Too few images for a covariance, or features that are not finite.
    pub fn distance_to_test(&self, samples: &Features) -> Result<f64> {
        frechet_distance(&Gaussian::fit(&samples.features, samples.width)?, &self.test_gaussian)
    }

    /// All distances of samples, with their labels if they have any.
    ///
    /// # Errors
    /// Same as [`Reference::distance_to_test`].
    pub fn quality(&self, samples: &Features, labels: Option<&[u32]>, seed: u64) -> Result<Quality> {
        let width = samples.width;
        let no_labels = vec![0; samples.count()];
        let classes = labels.unwrap_or(&no_labels);
        let test = &self.test;
        let reference = self.train.gather(&reference_subset(self.train.count(), samples.count()));
        let gaussian = Gaussian::fit(&samples.features, width)?;
        let neighbor_images = samples.count().min(test.count()).min(MAX_NEIGHBOR_IMAGES);
        let part = |set: &Features, side: u32| {
            set.gather(&subset(set.count(), neighbor_images, [NEIGHBOR_SUBSET, side], seed))
        };
        let (precision, recall) = precision_recall(&part(test, 0), &part(samples, 1), width, NEIGHBORS)?;
        Ok(Quality {
            fd_test: frechet_distance(&gaussian, &self.test_gaussian)?,
            fd_test_error: frechet_error(&samples.features, width, classes, &self.test_gaussian, seed)?,
            fd_train: frechet_distance(&gaussian, &self.train_gaussian)?,
            fd_reference: frechet_distance(&Gaussian::fit(&reference, width)?, &self.test_gaussian)?,
            counts: ImageCounts {
                samples: samples.count() as u32,
                reference: (reference.len() / width) as u32,
                train: self.train.count() as u32,
                test: test.count() as u32,
            },
            kid: kernel_inception_distance(&samples.features, &test.features, width, seed)?,
            kid_reference: kernel_inception_distance(&reference, &test.features, width, seed)?,
            precision,
            recall,
            neighbors: NEIGHBORS as u32,
            neighbor_images: neighbor_images as u32,
        })
    }
}
