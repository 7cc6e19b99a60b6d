//! Metrics of generated images: distances between feature distributions, class counts, likelihoods
//! in bits per dimension, and nearest neighbors.
//!
//! Every number is computed on the host in f64. [`feature_extractor`] and [`likelihood`] run a
//! network on the device first; all other modules need no device.

pub mod balance;
pub mod bootstrap;
pub mod brightness;
pub mod feature_extractor;
pub mod frechet;
pub mod kid;
pub mod likelihood;
pub mod neighbors;
pub mod padding;
pub mod proportion;
mod rows;
pub mod subset;

use serde::{Deserialize, Serialize};

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// The standard error of the mean.
    pub error: f64,
}

impl Estimate {
    /// The mean of independent values and its standard error s / sqrt(n), where s is the sample
    /// standard deviation. The error of a single value is 0.
    ///
    /// ```
    /// use degrain::metrics::Estimate;
    ///
    /// let mean = Estimate::from_values(&[1.0, 2.0, 3.0]);
    /// assert_eq!(mean.value, 2.0);
    /// assert_eq!(mean.error, (1.0_f64 / 3.0).sqrt());
    /// ```
    ///
    /// # Panics
    /// If there are no values.
    #[track_caller]
    pub fn from_values(values: &[f64]) -> Estimate {
        assert!(!values.is_empty(), "the mean of no values");
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        let error = if values.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
        Estimate { value, error }
    }
}

/// Some quantiles of a set of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u32,
    /// The smallest value.
    pub min: f64,
    /// The 1st percentile.
    pub percentile_1: f64,
    /// The first quartile (25th percentile).
    pub quartile_1: f64,
    /// The median.
    pub median: f64,
    /// The third quartile (75th percentile).
    pub quartile_3: f64,
}

impl Quantiles {
    /// The quantiles of some values. Between two values they are interpolated linearly, as
    /// `numpy.quantile` does (Hyndman and Fan 1996, "Sample quantiles in statistical packages",
    /// definition 7).
    ///
    /// ```
    /// use degrain::metrics::Quantiles;
    ///
    /// let quantiles = Quantiles::from_values(&[4.0, 1.0, 2.0, 3.0]);
    /// assert_eq!(quantiles.min, 1.0);
    /// assert_eq!(quantiles.quartile_1, 1.75);
    /// assert_eq!(quantiles.median, 2.5);
    /// ```
    ///
    /// # Panics
    /// If there are no values, or one of them is NaN.
    #[track_caller]
    pub fn from_values(values: &[f64]) -> Quantiles {
        assert!(!values.is_empty(), "the quantiles of no values");
        assert!(values.iter().all(|x| !x.is_nan()), "the quantiles of values with a NaN");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let position = share * (sorted.len() - 1) as f64;
            let low = sorted[position as usize];
            let fraction = position.fract();
            // At a value there is nothing to interpolate, and the last value has no next one.
            if fraction == 0.0 { low } else { low + fraction * (sorted[position as usize + 1] - low) }
        };
        Quantiles {
            count: values.len() as u32,
            min: sorted[0],
            percentile_1: quantile(0.01),
            quartile_1: quantile(0.25),
            median: quantile(0.5),
            quartile_3: quantile(0.75),
        }
    }
}
