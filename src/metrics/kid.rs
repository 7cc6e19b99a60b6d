//! Kernel Inception Distance of two sets of features (Binkowski et al. 2018, "Demystifying MMD
//! GANs"), here with the features of any extractor.
//!
//! Unlike the Frechet distance it is unbiased, so a few hundred images are enough, and the distance
//! of equal distributions may be negative.

use super::subset::subset;
use super::{Estimate, rows};
use crate::{Error, Result};

/// Number of subsets whose distances are averaged.
pub const SUBSETS: u32 = 40;

/// Largest number of images in a subset.
pub const SUBSET_SIZE: usize = 500;

/// Rows on each side of a block of kernel values. It bounds the memory of the estimator.
const BLOCK: usize = 512;

/// The mean of [`squared_mmd`] over [`SUBSETS`] pairs of subsets of [`SUBSET_SIZE`] images, or of
/// all images if there are fewer (Binkowski et al. 2018, section 4). `a` and `b` are
/// `[count, width]`; images are drawn without replacement within a subset.
///
/// The error is the standard deviation of the subsets' values divided by the square root of their
/// number. It says how far the mean may be from the mean over all subsets of these images. It says
/// nothing about other images of the same distributions, because the subsets overlap and their
/// values are not independent. If both subsets are the whole sets, the error is 0 up to rounding.
///
/// ```
/// use degrain::metrics::kid::kernel_inception_distance;
///
/// let a = [0.0, 0.1, -0.1, 0.2];
/// let b = [2.0, 2.1, 1.9, 2.2];
/// let far = kernel_inception_distance(&a, &b, 1, 0)?;
/// let near = kernel_inception_distance(&a, &a, 1, 0)?;
/// assert!(far.value > 10.0 && near.value < 0.1);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] if a set has fewer than two images; [`Error::NonFinite`] for features that are
/// not finite.
///
/// # Panics
/// If the features are not a whole number of rows.
#[track_caller]
pub fn kernel_inception_distance(a: &[f32], b: &[f32], width: usize, seed: u64) -> Result<Estimate> {
    let counts = [rows::finite(a, width)?, rows::finite(b, width)?];
    if counts.iter().any(|&count| count < 2) {
        let [a, b] = counts;
        return Err(Error::Config(format!(
            "the kernel distance needs at least two images in each set, and the sets have {a} and {b}"
        )));
    }
    let values: Vec<f64> = (0..SUBSETS)
        .map(|number| {
            let part = |features: &[f32], side: u32| -> Vec<f32> {
                let rows = subset(features.len() / width, SUBSET_SIZE, [number, side], seed);
                rows.into_iter().flat_map(|row| &features[row * width..(row + 1) * width]).copied().collect()
            };
            squared_mmd(&part(a, 0), &part(b, 1), width)
        })
        .collect();
    Ok(Estimate::from_values(&values))
}

/// Unbiased estimate of the squared maximum mean discrepancy of two sets of features,
/// `[count, width]` each (Gretton et al. 2012, "A kernel two-sample test", eq. 3), with the kernel
/// k(x, y) = (x·y / width + 1)³ (Binkowski et al. 2018, section 4).
///
/// # Panics
/// If the features are not a whole number of rows, or a set has fewer than two.
#[track_caller]
pub fn squared_mmd(a: &[f32], b: &[f32], width: usize) -> f64 {
    let [m, n] = [a, b].map(|set| rows::count(set, width) as f64);
    assert!(m > 1.0 && n > 1.0, "the unbiased estimate needs two rows in each set: {m} and {n}");
    let [a, b] = [a, b].map(rows::widen);
    let within =
        |set: &[f64]| kernel_sum(set, set, width) - set.chunks(width).map(|x| kernel_sum(x, x, width)).sum::<f64>();
    within(&a) / (m * (m - 1.0)) + within(&b) / (n * (n - 1.0)) - 2.0 * kernel_sum(&a, &b, width) / (m * n)
}

/// Sum of the kernel over all pairs of rows.
fn kernel_sum(a: &[f64], b: &[f64], width: usize) -> f64 {
    let kernel = |product: &f64| (product / width as f64 + 1.0).powi(3);
    let block = |a: &[f64], b: &[f64]| rows::gram(a, b, width).iter().map(kernel).sum::<f64>();
    a.chunks(BLOCK * width).map(|a| b.chunks(BLOCK * width).map(|b| block(a, b)).sum::<f64>()).sum()
}
