//! What a distribution of images is worth, in numbers: distances of features, counts of classes, bits a dimension, nearest neighbours.
//!
//! Floor 4: everything that decides a number is computed on the host in f64; `ruler` and the likelihoods run a network on the device first.

pub mod balance;
pub mod feature_extractor;
mod features;
pub mod frechet;
pub mod kid;
pub mod likelihood;
pub mod neighbors;
pub mod padding;
pub mod subset;

use serde::{Deserialize, Serialize};

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub error: f64,
}

impl Estimate {
    /// The mean of independent values, and its standard error; an error of 0 for a single one.
    ///
    /// # Panics
    /// Without values.
    #[track_caller]
    pub fn of(values: &[f64]) -> Estimate {
        assert!(!values.is_empty(), "the mean of nothing");
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        let error = if values.len() > 1 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
        Estimate { value, error }
    }
}

/// A distribution by some of its quantiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Values.
    pub count: u32,
    /// The smallest.
    pub least: f64,
    /// That which one in a hundred lies below.
    pub percentile_1: f64,
    /// That which a quarter lies below.
    pub quartile_1: f64,
    /// That which half lies below.
    pub median: f64,
    /// That which three quarters lie below.
    pub quartile_3: f64,
}

impl Quantiles {
    /// The quantiles of values, with linear interpolation between the two nearest (Hyndman and Fan 1996, definition 7; `numpy.quantile`).
    ///
    /// # Panics
    /// Without values, or if one is not a number.
    #[track_caller]
    pub fn of(values: &[f64]) -> Quantiles {
        assert!(!values.is_empty(), "the quantiles of nothing");
        assert!(values.iter().all(|x| !x.is_nan()), "quantiles of what is not a number");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (low, part) = (sorted[place as usize], place.fract());
            // On a value there is nothing to interpolate, and after the last there is no other.
            if part == 0.0 { low } else { low + part * (sorted[place as usize + 1] - low) }
        };
        Quantiles {
            count: values.len() as u32,
            least: sorted[0],
            percentile_1: quantile(0.01),
            quartile_1: quantile(0.25),
            median: quantile(0.5),
            quartile_3: quantile(0.75),
        }
    }
}
