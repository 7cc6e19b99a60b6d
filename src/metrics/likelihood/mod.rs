//! Bits a dimension: how long a code the model needs for images of 256 values a pixel.

pub mod elbo;
pub mod flow;
pub mod vlb;

use super::Estimate;
use serde::{Deserialize, Serialize};

/// Bits a dimension of some images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bits {
    /// What was measured, in words.
    pub what: String,
    /// Images measured.
    pub images: u32,
    /// The mean over the images, with its standard error.
    pub total: Estimate,
    /// What the total is a sum of, by name; for an autoencoder, other numbers to stand beside.
    pub parts: Vec<(String, Estimate)>,
}

/// Mean of each part over images, and of their sum.
fn summed(what: &str, parts: &[(&str, Vec<f64>)]) -> Bits {
    let images = parts[0].1.len();
    let sums: Vec<f64> = (0..images).map(|i| parts.iter().map(|(_, values)| values[i]).sum()).collect();
    Bits {
        what: what.into(),
        images: images as u32,
        total: Estimate::of(&sums),
        parts: parts.iter().map(|(name, values)| (name.to_string(), Estimate::of(values))).collect(),
    }
}
