//! Distances of the drawn images from the data, in the ruler's features.

use super::evaluation::{Counts, Quality};
use crate::Result;
use crate::metrics::feature_extractor::Features;
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::kid::kernel_inception_distance;
use crate::metrics::neighbors::{NEIGHBOURS, precision_recall};
use crate::metrics::subset::subset;

/// Most images on a side of precision and recall: their cost grows with the square.
const MOST_NEIGHBOURS: usize = 5_000;

/// Which subsets these are.
const FLOOR: u32 = 1_000;
const SIDES: u32 = 1_001;

/// What the ruler says of the data: read once, compared with all images that are drawn.
pub struct Reference {
    /// Of the training images.
    pub train: Features,
    /// Of the test images.
    pub test: Features,
    train_moments: Gaussian,
    test_moments: Gaussian,
}

impl Reference {
    /// Fits the features.
    ///
    /// # Errors
    /// Too few images for a covariance.
    pub fn new(train: Features, test: Features) -> Result<Reference> {
        let [train_moments, test_moments] = [&train, &test].map(|set| Gaussian::of(&set.features, set.width));
        Ok(Reference { train_moments: train_moments?, test_moments: test_moments?, train, test })
    }

    /// Frechet distance to the test images.
    ///
    /// # Errors
    /// Too few images for a covariance, or features that are not finite.
    pub fn distance_to_test(&self, drawn: &Features) -> Result<f64> {
        frechet_distance(&Gaussian::of(&drawn.features, drawn.width)?, &self.test_moments)
    }

    /// Features of `count` training images, always the same; of all, if there are no more.
    fn some_training_images(&self, count: usize) -> Vec<f32> {
        taken(&self.train, &subset(self.train.count(), count, [FLOOR, 0], 0))
    }

    /// All distances of drawn images.
    ///
    /// # Errors
    /// As [`Reference::distance_to_test`].
    pub fn quality(&self, drawn: &Features, seed: u64) -> Result<Quality> {
        let (width, test) = (drawn.width, &self.test);
        let floor = self.some_training_images(drawn.count());
        let moments = Gaussian::of(&drawn.features, width)?;
        let sides = drawn.count().min(test.count()).min(MOST_NEIGHBOURS);
        let some = |set: &Features, side: u32| taken(set, &subset(set.count(), sides, [SIDES, side], seed));
        let (precision, recall) = precision_recall(&some(test, 0), &some(drawn, 1), width, NEIGHBOURS)?;
        Ok(Quality {
            fd_test: frechet_distance(&moments, &self.test_moments)?,
            fd_train: frechet_distance(&moments, &self.train_moments)?,
            floor: frechet_distance(&Gaussian::of(&floor, width)?, &self.test_moments)?,
            counts: Counts {
                drawn: drawn.count() as u32,
                floor: (floor.len() / width) as u32,
                train: self.train.count() as u32,
                test: test.count() as u32,
            },
            kid: kernel_inception_distance(&drawn.features, &test.features, width, seed)?,
            kid_floor: kernel_inception_distance(&floor, &test.features, width, seed)?,
            precision,
            recall,
            neighbors: NEIGHBOURS as u32,
            neighbour_images: sides as u32,
        })
    }
}

/// Features of some images.
pub fn taken(readings: &Features, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|&row| readings.rows(row..row + 1)).copied().collect()
}
