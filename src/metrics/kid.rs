//! The kernel distance of two sets of features: the KID, if the features are those of Inception (Binkowski et al. 2018, "Demystifying MMD
//! GANs"). Unlike the Frechet distance it is unbiased, so a few hundred images do, and the distance of equal distributions may come out
//! negative.

use super::subset::subset;
use super::{Estimate, features};
use crate::{Error, Result};

/// Subsets of each set whose distances are averaged.
pub const SUBSETS: u32 = 40;

/// Most images of a subset.
pub const SUBSET: usize = 500;

/// Rows on each side of a block of kernel values: what bounds the memory of the estimator.
const BLOCK: usize = 512;

/// The mean of [`squared_mmd`] over [`SUBSETS`] pairs of subsets of the sets, each of [`SUBSET`] images, or of all if there are fewer, drawn
/// without replacement (Binkowski et al. 2018, section 4).
///
/// The error is the standard deviation of the subsets' values over the root of their number: how far the mean may be from that of all subsets
/// of these very images. It says nothing of other images of the same distributions: subsets overlap, so their values are not
/// independent, and the error is 0 but for rounding where both subsets are the whole sets.
///
/// # Errors
/// [`Error::Config`] for fewer than two images on a side; [`Error::NonFinite`] for features that are not finite.
///
/// # Panics
/// If features are not whole rows.
#[track_caller]
pub fn kernel_inception_distance(a: &[f32], b: &[f32], width: usize, seed: u64) -> Result<Estimate> {
    let counts = [features::finite(a, width)?, features::finite(b, width)?];
    if counts.iter().any(|&count| count < 2) {
        let [a, b] = counts;
        return Err(Error::Config(format!(
            "the kernel distance needs two images on each side, and here are {a} and {b}"
        )));
    }
    let values: Vec<f64> = (0..SUBSETS)
        .map(|number| {
            let some = |features: &[f32], side: u32| -> Vec<f32> {
                let rows = subset(features.len() / width, SUBSET, [number, side], seed);
                rows.into_iter().flat_map(|row| &features[row * width..(row + 1) * width]).copied().collect()
            };
            squared_mmd(&some(a, 0), &some(b, 1), width)
        })
        .collect();
    Ok(Estimate::of(&values))
}

/// The unbiased estimate of the squared maximum mean discrepancy of two sets of features, [count, width] (Gretton et al. 2012, "A kernel
/// two-sample test", eq. 3), with the kernel (x·y / width + 1)³ (Binkowski et al. 2018, section 4).
///
/// # Panics
/// If features are not whole rows, or a set has fewer than two.
#[track_caller]
pub fn squared_mmd(a: &[f32], b: &[f32], width: usize) -> f64 {
    let [m, n] = [a, b].map(|set| features::count(set, width) as f64);
    assert!(m > 1.0 && n > 1.0, "an unbiased estimate needs two rows on each side: {m} and {n}");
    let [a, b] = [a, b].map(features::widen);
    let within =
        |set: &[f64]| kernel_sum(set, set, width) - set.chunks(width).map(|x| kernel_sum(x, x, width)).sum::<f64>();
    within(&a) / (m * (m - 1.0)) + within(&b) / (n * (n - 1.0)) - 2.0 * kernel_sum(&a, &b, width) / (m * n)
}

/// The kernel's sum over all pairs of rows.
fn kernel_sum(a: &[f64], b: &[f64], width: usize) -> f64 {
    let kernel = |product: &f64| (product / width as f64 + 1.0).powi(3);
    let block = |a: &[f64], b: &[f64]| features::gram(a, b, width).iter().map(kernel).sum::<f64>();
    a.chunks(BLOCK * width).map(|a| b.chunks(BLOCK * width).map(|b| block(a, b)).sum::<f64>()).sum()
}
