//! Proportions with a confidence interval.

use serde::{Deserialize, Serialize};

/// The 97.5th percentile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A proportion of successes with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// Number of successes.
    pub successes: u32,
    /// Number of trials.
    pub count: u32,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Proportion {
    /// The proportion with Wilson's score interval (Wilson 1927, "Probable inference, the law of
    /// succession, and statistical inference"). With p = successes / n and z = 1.96 the interval is
    ///
    /// ```text
    /// (p + z² / 2n ± z sqrt(p (1 - p) / n + z² / 4n²)) / (1 + z² / n)
    /// ```
    ///
    /// Without trials the interval is 0 to 1.
    ///
    /// ```
    /// use degrain::metrics::proportion::Proportion;
    ///
    /// let accuracy = Proportion::new(9, 10);
    /// assert_eq!(accuracy.share(), 0.9);
    /// assert!((accuracy.low - 0.596).abs() < 1e-3);
    /// assert!((accuracy.high - 0.982).abs() < 1e-3);
    /// ```
    ///
    /// # Panics
    /// If there are more successes than trials.
    #[track_caller]
    pub fn new(successes: u32, count: u32) -> Proportion {
        assert!(successes <= count, "{successes} successes in {count} trials");
        if count == 0 {
            return Proportion { successes, count, low: 0.0, high: 1.0 };
        }
        let n = f64::from(count);
        let share = f64::from(successes) / n;
        let center = share + Z * Z / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let end = |x: f64| x / (1.0 + Z * Z / n);
        // In exact arithmetic the interval contains the share and is inside [0, 1]. Rounding may
        // break both.
        let low = end(center - half).clamp(0.0, share);
        let high = end(center + half).clamp(share, 1.0);
        Proportion { successes, count, low, high }
    }

    /// Successes per trial; NaN without trials.
    pub fn share(&self) -> f64 {
        f64::from(self.successes) / f64::from(self.count)
    }
}
