//! Distances of the drawn images from the data, in the ruler's features.

use super::evaluation::{Counts, Quality};
use crate::Result;
use crate::metrics::frechet::{Gaussian, frechet_distance};
use crate::metrics::kernel::kernel_distance;
use crate::metrics::neighbours::{NEIGHBOURS, precision_recall};
use crate::metrics::ruler::Readings;

/// Most images on a side of precision and recall: their cost grows with the square.
const MOST_NEIGHBOURS: usize = 5_000;

/// What the ruler says of the data: read once, compared with all images that are drawn.
pub struct Reference {
    /// Of the training images.
    pub train: Readings,
    /// Of the test images.
    pub test: Readings,
    train_moments: Gaussian,
    test_moments: Gaussian,
}

impl Reference {
    /// Fits the features.
    ///
    /// # Errors
    /// Too few images for a covariance.
    pub fn new(train: Readings, test: Readings) -> Result<Reference> {
        let [train_moments, test_moments] = [&train, &test].map(|set| Gaussian::of(&set.features, set.width));
        Ok(Reference { train_moments: train_moments?, test_moments: test_moments?, train, test })
    }

    /// Frechet distance to the test images.
    ///
    /// # Errors
    /// Too few images for a covariance, or features that are not finite.
    pub fn distance_to_test(&self, drawn: &Readings) -> Result<f64> {
        frechet_distance(&Gaussian::of(&drawn.features, drawn.width)?, &self.test_moments)
    }

    /// Features of `count` training images, equally far from each other in their order; all, if there are no more.
    fn some_training_images(&self, count: usize) -> Vec<f32> {
        let all = self.train.count();
        let count = count.min(all);
        (0..count).flat_map(|k| self.train.rows(k * all / count..k * all / count + 1)).copied().collect()
    }

    /// All distances of drawn images.
    ///
    /// # Errors
    /// As [`Reference::distance_to_test`].
    pub fn quality(&self, drawn: &Readings, seed: u64) -> Result<Quality> {
        let (width, test) = (drawn.width, &self.test);
        let floor = self.some_training_images(drawn.count());
        let moments = Gaussian::of(&drawn.features, width)?;
        let sides = drawn.count().min(test.count()).min(MOST_NEIGHBOURS);
        let (precision, recall) = precision_recall(test.rows(0..sides), drawn.rows(0..sides), width, NEIGHBOURS)?;
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
            kid: kernel_distance(&drawn.features, &test.features, width, seed)?,
            kid_floor: kernel_distance(&floor, &test.features, width, seed)?,
            precision,
            recall,
            neighbours: NEIGHBOURS as u32,
            neighbour_images: sides as u32,
        })
    }
}
