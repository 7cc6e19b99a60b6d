//! Likelihoods of images in bits per dimension: -log2 p(x) divided by the number of pixels and
//! channels, for pixels of 256 values.
//!
//! | module | model | result |
//! |---|---|---|
//! | [`vlb`] | processes with discrete timesteps | upper bound (Ho et al. 2020, eq. 5) |
//! | [`probability_flow`] | processes in continuous time | likelihood (Song et al. 2021, eq. 39) |
//! | [`elbo`] | variational autoencoders | upper bound (Burda et al. 2016, eq. 8) |

pub mod elbo;
pub mod probability_flow;
pub mod vlb;

use super::Estimate;
use serde::{Deserialize, Serialize};

/// Images whose likelihood is measured.
#[derive(Clone, Copy, Debug)]
pub struct LabeledImages<'a> {
    /// Bytes `[N, C, H, W]`.
    pub bytes: &'a [u8],
    /// Class of each image; ignored by models without classes.
    pub labels: &'a [u32],
}

/// How a bound is estimated from random draws.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// Random draws per image: timesteps of the VLB, latents of the ELBO.
    pub per_image: u32,
    /// Seed of the draws and of all noise.
    pub seed: u64,
}

/// The likelihood of some images in bits per dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BitsPerDimension {
    /// The method and its settings, in words.
    pub method: String,
    /// Number of images.
    pub images: u32,
    /// Mean over the images.
    pub total: Estimate,
    /// Named terms whose sum is the total. For an autoencoder: the ELBO, to compare the total with.
    pub parts: Vec<(String, Estimate)>,
}

/// Means over images of named terms and of their sum.
fn sum_of_parts(method: &str, parts: &[(&str, Vec<f64>)]) -> BitsPerDimension {
    let images = parts[0].1.len();
    let sums: Vec<f64> = (0..images).map(|i| parts.iter().map(|(_, values)| values[i]).sum()).collect();
    BitsPerDimension {
        method: method.into(),
        images: images as u32,
        total: Estimate::from_values(&sums),
        parts: parts.iter().map(|(name, values)| (name.to_string(), Estimate::from_values(values))).collect(),
    }
}
