//! Standard error of a Frechet distance by the bootstrap (Efron 1979, "Bootstrap methods: another
//! look at the jackknife", section 2).

use super::Estimate;
use super::frechet::{Gaussian, frechet_distance};
use super::subset::with_replacement;
use crate::Result;

/// Number of sets that are drawn.
pub const REPLICATES: u32 = 40;

/// Id of the rows that are drawn.
const DRAWN: u32 = 1_002;

/// The standard error of the [`frechet_distance`] of features `[count, width]` to a Gaussian: the
/// standard deviation of the distances of [`REPLICATES`] sets of `count` rows that are drawn from the
/// features with replacement.
///
/// It says how far the distances of other samples of the same model would differ. It includes
/// neither the upward bias of few images nor the choice of the images of the Gaussian.
///
/// ```
/// use degrain::metrics::bootstrap::frechet_error;
/// use degrain::metrics::frechet::Gaussian;
///
/// let data = Gaussian::fit(&[0.0, 1.0, 2.0], 1)?;
/// assert!(frechet_error(&[3.0, 4.0, 5.0, 6.0], 1, &data, 0)? > 0.0);
/// assert!(frechet_error(&[3.0, 3.0, 3.0, 3.0], 1, &data, 0)? < 1e-12);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// Same as [`Gaussian::fit`] and [`frechet_distance`].
///
/// # Panics
/// If the features are not a whole number of rows of the Gaussian's width.
#[track_caller]
pub fn frechet_error(features: &[f32], width: usize, data: &Gaussian, seed: u64) -> Result<f64> {
    let count = features.len() / width;
    let distance = |replicate: u32| {
        let rows = with_replacement(count, [DRAWN, replicate], seed);
        let drawn: Vec<f32> = rows.into_iter().flat_map(|row| &features[row * width..][..width]).copied().collect();
        frechet_distance(&Gaussian::fit(&drawn, width)?, data)
    };
    let distances = (0..REPLICATES).map(distance).collect::<Result<Vec<f64>>>()?;
    // The error of their mean is smaller by the root of their number.
    Ok(Estimate::from_values(&distances).error * f64::from(REPLICATES).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{key, normal4, philox};

    /// The squared distance |m - m'|² of the means has the standard deviation 2 |m - m'| s / sqrt(n).
    /// The other part of the distance varies less here.
    #[test]
    fn error_is_that_of_other_samples() {
        let (count, width, shift) = (2_000, 3, 2.0);
        let set = |seed: u64, shift: f32| -> Vec<f32> {
            let row = |i: u32| normal4(philox([i, 0, 0, 0], key(seed)))[..width].to_vec();
            let rows = (0..count as u32).map(row);
            let shifted = rows.map(|row| row.into_iter().zip([shift, 0.0, 0.0]).map(|(x, by)| x as f32 + by));
            shifted.flatten().collect()
        };
        let data = Gaussian::fit(&set(1, 0.0), width).unwrap();
        let error = frechet_error(&set(2, shift), width, &data, 0).unwrap();
        let of_other = |seed| frechet_distance(&Gaussian::fit(&set(seed, shift), width).unwrap(), &data).unwrap();
        let others: Vec<f64> = (3..43).map(of_other).collect();
        let spread = Estimate::from_values(&others).error * (others.len() as f64).sqrt();
        let theory = 2.0 * f64::from(shift) / (count as f64).sqrt();
        // The standard deviation of 40 values has a relative standard error of 11 %.
        for found in [error, spread] {
            assert!((found / theory - 1.0).abs() < 0.35, "{error} {spread} {theory}");
        }
    }
}
