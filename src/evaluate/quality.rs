//! Distances between samples and data in the space of the extracted features.

use super::evaluation::{ImageCounts, Quality};
use crate::Result;
use crate::metrics::bootstrap::frechet_error;
use crate::metrics::feature_extractor::Features;
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::kid::kernel_inception_distance;
use crate::metrics::neighbors::{NEIGHBORS, precision_recall};
use crate::metrics::subset::subset;
use std::collections::BTreeMap;

/// Largest number of images on each side of precision and recall. Their cost grows with its square.
const MAX_NEIGHBOR_IMAGES: usize = 5_000;

/// Id of the subsets of training images for reference distances.
const REFERENCE_SUBSET: u32 = 1_000;
/// Number of subsets whose mean is the reference FD. The distance of a single subset of 1,000 images
/// varies by a sixth.
const REFERENCE_SUBSETS: u32 = 20;
/// Id of the subsets for precision and recall.
const NEIGHBOR_SUBSET: u32 = 1_001;

/// Random training images like the samples of a perfect model: as many as there are `samples`, and
/// with the class counts of samples that have labels. Samples with given classes do not vary in their
/// class counts, as random images do, which makes their distance smaller. A class, or a data set, with
/// too few images is used as a whole. `number` distinguishes the subsets.
pub(super) fn reference_subset(
    training_labels: &[u32],
    samples: usize,
    labels: Option<&[u32]>,
    number: u32,
) -> Vec<usize> {
    let Some(labels) = labels else {
        return subset(training_labels.len(), samples, [REFERENCE_SUBSET, number], 0);
    };
    let mut of_class: BTreeMap<u32, (Vec<usize>, usize)> = BTreeMap::new();
    training_labels.iter().enumerate().for_each(|(row, &class)| of_class.entry(class).or_default().0.push(row));
    labels.iter().for_each(|&class| of_class.entry(class).or_default().1 += 1);
    // Each class has its own draws.
    let rows = |(class, (rows, wanted)): (&u32, &(Vec<usize>, usize))| -> Vec<usize> {
        let id = [REFERENCE_SUBSET, number + REFERENCE_SUBSETS * (class + 1)];
        subset(rows.len(), *wanted, id, 0).into_iter().map(|row| rows[row]).collect()
    };
    of_class.iter().flat_map(rows).collect()
}

/// Features of the data set. They are computed once and compared with all samples.
pub(super) struct Reference {
    /// Features of the training images.
    pub train: Features,
    /// Features of the test images.
    pub test: Features,
    train_labels: Vec<u32>,
    train_gaussian: Gaussian,
    test_gaussian: Gaussian,
}

impl Reference {
    /// Fits Gaussians to the features.
    ///
    /// # Errors
    /// Too few images for a covariance.
    pub fn fit(train: Features, train_labels: &[u32], test: Features) -> Result<Reference> {
        let train_gaussian = Gaussian::fit(&train.features, train.width)?;
        let test_gaussian = Gaussian::fit(&test.features, test.width)?;
        Ok(Reference { train, test, train_labels: train_labels.to_vec(), train_gaussian, test_gaussian })
    }

    /// Mean Frechet distance of the reference subsets to the test images.
    fn reference_distance(&self, samples: usize, labels: Option<&[u32]>) -> Result<f64> {
        let distance = |number| {
            let features = self.train.gather(&reference_subset(&self.train_labels, samples, labels, number));
            frechet_distance(&Gaussian::fit(&features, self.train.width)?, &self.test_gaussian)
        };
        let distances = (0..REFERENCE_SUBSETS).map(distance).collect::<Result<Vec<f64>>>()?;
        Ok(distances.iter().sum::<f64>() / distances.len() as f64)
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
        let reference = self.train.gather(&reference_subset(&self.train_labels, samples.count(), labels, 0));
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
            fd_reference: self.reference_distance(samples.count(), labels)?,
            counts: ImageCounts {
                samples: samples.count() as u32,
                reference: (reference.len() / width) as u32,
                reference_subsets: REFERENCE_SUBSETS,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_images_have_the_class_counts_of_the_samples() {
        let training: Vec<u32> = (0..1000).map(|row| [0, 0, 0, 1, 2][row % 5]).collect();
        let of = |labels: Option<&[u32]>, number| reference_subset(&training, 50, labels, number);
        let labels: Vec<u32> = (0..50).map(|sample| if sample < 10 { 0 } else { 2 }).collect();
        let rows = of(Some(&labels), 0);
        let count = |class| rows.iter().filter(|&&row| training[row] == class).count();
        assert_eq!([count(0), count(1), count(2)], [10, 0, 40]);
        assert_eq!(rows, of(Some(&labels), 0));
        assert_ne!(rows, of(Some(&labels), 1));
        assert_eq!(of(None, 3).len(), 50);
        // A class with fewer images, and one that the data does not have.
        assert_eq!(reference_subset(&training, 400, Some(&[[1; 300].as_slice(), &[7; 100]].concat()), 0).len(), 200);
    }
}
