//! Counts of classes: shares with confidence intervals, and Pearson's chi-square test of balance.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Standard deviations of a normal distribution on either side of its mean that hold 95 % of it.
const Z: f64 = 1.959_963_984_540_054;

/// A share of successes with its confidence interval of 95 % (Wilson 1927).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Successes.
    pub successes: u32,
    /// Tries.
    pub count: u32,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Proportion {
    /// The share of successes among tries, with the interval of Wilson (1927, "Probable inference, the law of succession, and statistical
    /// inference"): all shares that lie within 1.96 of their own standard errors of the observed one. From 0 to 1 without tries.
    ///
    /// # Panics
    /// With more successes than tries.
    #[track_caller]
    pub fn of(successes: u32, count: u32) -> Proportion {
        assert!(successes <= count, "{successes} successes in {count} tries");
        if count == 0 {
            return Proportion { successes, count, low: 0.0, high: 1.0 };
        }
        let (n, share) = (f64::from(count), f64::from(successes) / f64::from(count));
        let centre = share + Z * Z / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let end = |x: f64| x / (1.0 + Z * Z / n);
        // The interval holds the share and stays in [0, 1], but for rounding.
        let (low, high) = (end(centre - half).clamp(0.0, share), end(centre + half).clamp(share, 1.0));
        Proportion { successes, count, low, high }
    }

    /// Successes a try; NaN without tries.
    pub fn share(&self) -> f64 {
        f64::from(self.successes) / f64::from(self.count)
    }
}

/// Counts of classes against the shares that they should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Images of each class.
    pub counts: Vec<u32>,
    /// Images that each class should have: the data's shares of the same number.
    pub expected: Vec<f64>,
    /// Pearson's statistic: the sum of (counts - expected)² / expected.
    pub chi_square: f64,
    /// Degrees of freedom: classes less one, without those that should have and do have no images.
    pub degrees: u32,
    /// Probability of a statistic as large as this by chance.
    pub p_value: f64,
}

impl Balance {
    /// Pearson's test (1900) of whether images fall into classes by these shares, which are weights: they are divided by their sum.
    ///
    /// The probability is that of the chi-square distribution, which the statistic approaches for many images: it is rough where fewer than
    /// five are expected of a class. An image of a class of share 0 refutes the shares: the statistic is
    /// `f64::MAX` and the probability 0.
    /// Without images, or with one class alone, there is nothing to refute: 0 and 1.
    ///
    /// # Panics
    /// If there are not as many shares as counts, or shares are negative, not finite, or all zero.
    #[track_caller]
    pub fn of(counts: &[u32], shares: &[f64]) -> Balance {
        assert_eq!(counts.len(), shares.len(), "a share for each class");
        let (images, whole): (u32, f64) = (counts.iter().sum(), shares.iter().sum());
        let valid = shares.iter().all(|share| *share >= 0.0) && whole > 0.0 && whole.is_finite();
        assert!(valid, "shares of classes are not negative, and not all zero: {shares:?}");
        let expected: Vec<f64> = shares.iter().map(|share| f64::from(images) * share / whole).collect();
        let classes = counts.iter().zip(shares).filter(|(count, share)| **count > 0 || **share > 0.0).count();
        let excess = |(&count, &expected): (&u32, &f64)| match f64::from(count) - expected {
            0.0 => 0.0,
            difference => difference * difference / expected,
        };
        // JSON has no infinity.
        let chi_square = counts.iter().zip(&expected).map(excess).sum::<f64>().min(f64::MAX);
        let degrees = classes as u32 - 1;
        let p_value = survival(chi_square, degrees);
        Balance { counts: counts.to_vec(), expected, chi_square, degrees, p_value }
    }
}

/// Probability that a chi-square variable is larger than x.
fn survival(x: f64, degrees: u32) -> f64 {
    match ChiSquared::new(f64::from(degrees)) {
        _ if x == f64::MAX => 0.0,
        Ok(distribution) => distribution.sf(x),
        // No degrees of freedom: always 0.
        Err(_) => 1.0,
    }
}
