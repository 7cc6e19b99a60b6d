//! Likelihoods where they are known: data N(0, variance), whose best network is linear, so that bound and flow must give each image's own code
//! length; and what turns a density into bits.

mod bound;
mod elbo;
mod flow;

use degrain::diffusion::Process;
use degrain::metrics::likelihood::vlb::Images;
use degrain::rng::{normal4, philox};

/// Standard deviation of the data: small enough that no pixel is clipped, large beside a pixel's bin.
const DEVIATION: f64 = 0.2;
const VARIANCE: f64 = DEVIATION * DEVIATION;

/// What is allowed: a thousandth of a bit.
const TOLERANCE: f64 = 1e-3;

/// `count` bytes of pixels from N(0, DEVIATION²).
fn bytes(count: usize) -> Vec<u8> {
    let word = |k: usize| normal4(philox([77, 0, 0, k as u32 / 4], [1, 2]))[k % 4];
    (0..count).map(|k| ((DEVIATION * word(k) + 1.0) * 127.5).round() as u8).collect()
}

/// A byte in [-1, 1].
fn pixel(byte: u8) -> f64 {
    f64::from(byte) / 127.5 - 1.0
}

/// a of the best answer a x of a network that is shown x itself, at a time of the process.
fn best_answer(process: &dyn Process, t: f64) -> f64 {
    best_answer_for(process, t, VARIANCE)
}

/// The same for data of another variance.
fn best_answer_for(process: &dyn Process, t: f64, variance: f64) -> f64 {
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

fn images(bytes: &[u8]) -> Images<'_> {
    Images { bytes, labels: &[] }
}
