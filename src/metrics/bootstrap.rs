//! Standard error of a Frechet distance by the bootstrap (Efron 1979, "Bootstrap methods: another
//! look at the jackknife", section 2).

use super::Estimate;
use super::frechet::{Gaussian, frechet_distance};
use super::subset::resample;
use crate::Result;
use std::collections::BTreeSet;

/// Number of sets that are drawn.
pub const REPLICATES: u32 = 40;

/// Id of the rows that are drawn.
const DRAWN: u32 = 1_002;

/// The standard error of the [`frechet_distance`] of features `[count, width]` to a Gaussian: the
/// standard deviation of the distances of [`REPLICATES`] sets of `count` rows that are drawn with
/// replacement. Each row is drawn from the rows of its class, `classes[row]`, because samples of a
/// conditional model have given numbers of each class; without classes, give all rows the same.
/// Rows that are drawn from m rows vary by (m - 1) / m of the variance of new rows. So the result
/// for n rows of C classes is multiplied by sqrt(n / (n - C)), which is exact for classes of equal
/// size. `None` if no class has two rows.
///
/// It says how far the distances of other samples of the same model would differ. It includes
/// neither the upward bias of few images nor the choice of the images of the Gaussian.
///
/// ```
/// use degrain::metrics::bootstrap::frechet_error;
/// use degrain::metrics::frechet::Gaussian;
///
/// let data = Gaussian::fit(&[0.0, 1.0, 2.0], 1)?;
/// let images = [3.0, 3.0, 5.0, 5.0];
/// assert!(frechet_error(&images, 1, &[0; 4], &data, 0)?.is_some_and(|error| error > 0.0));
/// // All images of a class are equal.
/// assert!(frechet_error(&images, 1, &[0, 0, 1, 1], &data, 0)?.is_some_and(|error| error < 1e-12));
/// assert_eq!(frechet_error(&images, 1, &[0, 1, 2, 3], &data, 0)?, None);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// Same as [`Gaussian::fit`] and [`frechet_distance`].
///
/// # Panics
/// If the features are not rows of the Gaussian's width, one for each class.
#[track_caller]
pub fn frechet_error(
    features: &[f32],
    width: usize,
    classes: &[u32],
    data: &Gaussian,
    seed: u64,
) -> Result<Option<f64>> {
    assert_eq!(features.len(), classes.len() * width, "a class for each row");
    let rows = classes.len();
    let free = rows - classes.iter().collect::<BTreeSet<_>>().len();
    if free == 0 {
        return Ok(None);
    }
    let distance = |replicate: u32| {
        let rows = resample(classes, [DRAWN, replicate], seed);
        let drawn: Vec<f32> = rows.into_iter().flat_map(|row| &features[row * width..][..width]).copied().collect();
        frechet_distance(&Gaussian::fit(&drawn, width)?, data)
    };
    let distances = (0..REPLICATES).map(distance).collect::<Result<Vec<f64>>>()?;
    // The error of their mean is smaller by the root of their number.
    let drawn = Estimate::from_values(&distances).error * f64::from(REPLICATES).sqrt();
    Ok(Some(drawn * (rows as f64 / free as f64).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{key, normal4, philox};

    /// Rows of standard normal numbers; those of odd number are of class 1, whose mean is `apart` in
    /// the second column.
    fn set(seed: u64, shift: f64, apart: f64) -> Vec<f32> {
        let row = |i: u32| {
            let [a, b, c, _] = normal4(philox([i, 0, 0, 0], key(seed)));
            [a + shift, b + apart * f64::from(i % 2), c].map(|x| x as f32)
        };
        (0..2_000).flat_map(row).collect()
    }

    /// Compares the error with the spread of other samples, and both with `theory`.
    fn check(apart: f64, classes: &[u32], theory: f64) {
        let data = Gaussian::fit(&set(1, 0.0, apart), 3).unwrap();
        let error = frechet_error(&set(2, 2.0, apart), 3, classes, &data, 0).unwrap().unwrap();
        let of_other = |seed| frechet_distance(&Gaussian::fit(&set(seed, 2.0, apart), 3).unwrap(), &data).unwrap();
        let others: Vec<f64> = (3..43).map(of_other).collect();
        let spread = Estimate::from_values(&others).error * (others.len() as f64).sqrt();
        // The standard deviation of 40 values has a relative standard error of 11 %.
        for found in [error, spread] {
            assert!((found / theory - 1.0).abs() < 0.35, "{error} {spread} {theory}");
        }
    }

    /// The squared distance |m - m'|² of the means has the standard deviation 2 |m - m'| s / sqrt(n).
    /// The other part of the distance varies less here.
    #[test]
    fn error_is_that_of_other_samples() {
        check(0.0, &[0; 2_000], 4.0 / 2_000_f64.sqrt());
    }

    /// With equally many images of each class, the means of the classes add nothing, however far apart.
    #[test]
    fn error_is_that_of_samples_with_the_same_classes() {
        let classes: Vec<u32> = (0..2_000).map(|i| i % 2).collect();
        check(200.0, &classes, 4.0 / 2_000_f64.sqrt());
    }

    /// Two rows that are drawn from two rows have half the variance of new rows.
    #[test]
    fn error_of_small_classes_is_not_too_small() {
        let data = Gaussian::fit(&set(1, 0.0, 0.0), 3).unwrap();
        let mean = |classes: &[u32]| {
            let error = |seed| frechet_error(&set(2, 2.0, 0.0), 3, classes, &data, seed).unwrap().unwrap();
            (0..8).map(error).sum::<f64>() / 8.0
        };
        // Without the factor, the ratio is 0.7. The mean of 8 errors has a standard error of 4 %.
        let ratio = mean(&(0..2_000).map(|i| i / 2).collect::<Vec<_>>()) / mean(&[0; 2_000]);
        assert!((ratio - 1.0).abs() < 0.15, "{ratio}");
    }
}
