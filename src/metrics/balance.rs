//! Counts of classes: shares with confidence intervals, and Pearson's chi-square test of balance.

use serde::{Deserialize, Serialize};

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

/// Counts of classes against the shares that they should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// Images of each class.
    pub counts: Vec<u32>,
    /// Images that each class should have: the data's shares of the same number.
    pub expected: Vec<f64>,
    /// Pearson's statistic: the sum of (counts - expected)² / expected.
    pub chi_square: f64,
    /// Degrees of freedom: classes less one.
    pub degrees: u32,
    /// Probability of a statistic as large as this by chance.
    pub p_value: f64,
}
