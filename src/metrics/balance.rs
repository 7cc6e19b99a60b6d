//! Class balance: Pearson's chi-square test of class counts.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Class counts compared with the expected shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Number of images of each class.
    pub counts: Vec<u32>,
    /// Expected number of images of each class.
    pub expected: Vec<f64>,
    /// Pearson's statistic: the sum of (counts - expected)² / expected.
    pub chi_square: f64,
    /// Number of classes minus 1. A class with no expected and no counted images is left out.
    pub degrees_of_freedom: u32,
    /// Probability of a statistic at least as large by chance.
    pub p_value: f64,
}

impl Balance {
    /// Pearson's chi-square test (1900) that images fall into classes with the given shares. The
    /// shares are weights: they are divided by their sum.
    ///
    /// The p-value uses the chi-square distribution, which the statistic approaches for many
    /// images. It is rough if fewer than five images are expected of a class. An image of a class
    /// with share 0 contradicts the shares: the statistic is `f64::MAX` and the p-value 0. Without
    /// images, or with a single class, the statistic is 0 and the p-value 1.
    ///
    /// ```
    /// use degrain::metrics::balance::Balance;
    ///
    /// let balance = Balance::new(&[12, 20], &[0.5, 0.5]);
    /// assert_eq!(balance.expected, [16.0, 16.0]);
    /// assert_eq!(balance.chi_square, 2.0);
    /// assert!((balance.p_value - 0.157).abs() < 1e-3);
    /// ```
    ///
    /// # Panics
    /// If the numbers of shares and counts differ, or shares are negative, not finite, or all zero.
    #[track_caller]
    pub fn new(counts: &[u32], shares: &[f64]) -> Balance {
        assert_eq!(counts.len(), shares.len(), "one share per class");
        let images: u32 = counts.iter().sum();
        let whole: f64 = shares.iter().sum();
        let valid = shares.iter().all(|share| *share >= 0.0) && whole > 0.0 && whole.is_finite();
        assert!(valid, "shares of classes must be non-negative and not all zero: {shares:?}");
        let expected: Vec<f64> = shares.iter().map(|share| f64::from(images) * share / whole).collect();
        let classes = counts.iter().zip(shares).filter(|(count, share)| **count > 0 || **share > 0.0).count();
        let excess = |(&count, &expected): (&u32, &f64)| match f64::from(count) - expected {
            0.0 => 0.0,
            difference => difference * difference / expected,
        };
        // JSON has no infinity.
        let chi_square = counts.iter().zip(&expected).map(excess).sum::<f64>().min(f64::MAX);
        let degrees_of_freedom = classes as u32 - 1;
        let p_value = survival(chi_square, degrees_of_freedom);
        Balance { counts: counts.to_vec(), expected, chi_square, degrees_of_freedom, p_value }
    }
}

/// Probability that a chi-square variable is larger than x.
fn survival(x: f64, degrees_of_freedom: u32) -> f64 {
    match ChiSquared::new(f64::from(degrees_of_freedom)) {
        _ if x == f64::MAX => 0.0,
        Ok(distribution) => distribution.sf(x),
        // Without degrees of freedom the statistic is always 0.
        Err(_) => 1.0,
    }
}
