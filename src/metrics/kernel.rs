//! The kernel distance of two sets of features: the KID, if the features are those of Inception (Binkowski et al. 2018, "Demystifying MMD
//! GANs"). Unlike the Frechet distance it is unbiased, so a few hundred images do, and the distance of equal distributions may come out
//! negative.

use super::{Estimate, features};
use crate::tape::philox::{key, philox};
use crate::tape::purpose;
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
pub fn kernel_distance(a: &[f32], b: &[f32], width: usize, seed: u64) -> Result<Estimate> {
    let counts = [features::finite(a, width)?, features::finite(b, width)?];
    if counts.iter().any(|&count| count < 2) {
        let [a, b] = counts;
        return Err(Error::Config(format!(
            "the kernel distance needs two images on each side, and here are {a} and {b}"
        )));
    }
    let values: Vec<f64> = (0..SUBSETS)
        .map(|number| {
            let subset = |features: &[f32], side: u32| -> Vec<f32> {
                let rows = choose(features.len() / width, SUBSET, [number, side], seed);
                rows.into_iter().flat_map(|row| &features[row * width..(row + 1) * width]).copied().collect()
            };
            squared_mmd(&subset(a, 0), &subset(b, 1), width)
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

/// Some of `count` rows, or all if there are no more, without repetition: the first of a shuffle (Fisher and Yates; Durstenfeld 1964).
fn choose(count: usize, some: usize, [subset, side]: [u32; 2], seed: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    let some = some.min(count);
    for i in 0..some {
        let word = philox([purpose::SUBSET, subset, side, i as u32], key(seed))[0];
        // A word scaled to the rows that are left: uniform to one part in 2^32 / count.
        rows.swap(i, i + ((u64::from(word) * (count - i) as u64) >> 32) as usize);
    }
    rows.truncate(some);
    rows
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn rows_are_chosen_without_repetition_and_equally_often() {
        let (count, some, subsets) = (20, 6, 5000);
        let mut times = vec![0_u32; count];
        for subset in 0..subsets {
            let mut rows = choose(count, some, [subset, 0], 1);
            rows.iter().for_each(|&row| times[row] += 1);
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), some);
        }
        // Five standard deviations of a binomial count.
        let (mean, allowed) = (f64::from(subsets) * 0.3, 5.0 * (f64::from(subsets) * 0.3 * 0.7).sqrt());
        assert!(times.iter().all(|&n| (f64::from(n) - mean).abs() < allowed), "{times:?}");
    }

    #[test]
    fn of_few_rows_all_are_chosen() {
        let mut rows = choose(7, 500, [0, 1], 1);
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
    }
}
