//! Likelihoods in cases where they are known. The data are N(0, variance), so the best network is
//! linear, and the variational bound and the probability flow must give the code length of each
//! image.

mod elbo;
mod probability_flow;
mod vlb;

use degrain::diffusion::Process;
use degrain::metrics::likelihood::LabeledImages;
use degrain::rng::{normal4, philox};

/// Standard deviation of the data: small enough that no pixel is clipped, and large compared with
/// the bin of a pixel.
const STD: f64 = 0.2;
const VARIANCE: f64 = STD * STD;

/// Allowed error: a thousandth of a bit.
const TOLERANCE: f64 = 1e-3;

/// `count` bytes of pixels from N(0, STD²).
fn bytes(count: usize) -> Vec<u8> {
    let word = |k: usize| normal4(philox([77, 0, 0, k as u32 / 4], [1, 2]))[k % 4];
    (0..count).map(|k| ((STD * word(k) + 1.0) * 127.5).round() as u8).collect()
}

/// A byte in [-1, 1].
fn pixel(byte: u8) -> f64 {
    f64::from(byte) / 127.5 - 1.0
}

/// The optimal output of a network is a x. Returns a for a network whose input is x, at a time of
/// the process.
fn best_factor(process: &dyn Process, t: f64) -> f64 {
    best_factor_for(process, t, VARIANCE)
}

/// The same for data of another variance.
fn best_factor_for(process: &dyn Process, t: f64, variance: f64) -> f64 {
    let (at, [p, q]) = (process.marginal(t), process.parameterization(t).target);
    let total = at.alpha * at.alpha * variance + at.sigma * at.sigma;
    (p * at.alpha * variance + q * at.sigma) / total
}

/// Mean of -log2 N(x; 0, variance).
fn bits_of_density(x: impl ExactSizeIterator<Item = f64>, variance: f64) -> f64 {
    let count = x.len() as f64;
    let squares: f64 = x.map(|x| x * x).sum();
    0.5 * (squares / count / variance + (std::f64::consts::TAU * variance).ln()) / std::f64::consts::LN_2
}

fn images(bytes: &[u8]) -> LabeledImages<'_> {
    LabeledImages { bytes, labels: &[] }
}
