//! The variational bound of a discrete process: the table that the operator `vlb` reads.

use super::process::Process;
use super::sampler::{Variance, alpha_bar_at, posterior_variance};
use super::schedule::NoiseSchedule;
use crate::ops::vlb::COEFFICIENTS;

/// The table of the operator `vlb`, `[T, 8]` = (k0, k1, c0, c1, log variance, log smallest, log
/// largest, first):
///
/// * x_0 = clip(k0 x + k1 m), for the network's output m;
/// * c0 x_0 + c1 x is the mean of the posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7);
/// * log variance is the posterior's at t; at timestep 0, the posterior's at timestep 1 (Nichol and
///   Dhariwal 2021, section 3.1);
/// * log smallest and log largest bound a learned variance (posterior and beta_t) and are equal for
///   a fixed variance, which is the posterior's at timestep 1 for timestep 0;
/// * first is 1 at timestep 0, else 0.
///
/// `decoder` is the lower bound of the learned standard deviation at timestep 0, where it is the
/// width of the pixel decoder. 0 selects the published bound, the posterior at timestep 1. Most
/// pixels of digits are exactly black, and a decoder of that width spends half a bit on each of
/// them.
pub fn table(
    noise: &NoiseSchedule,
    process: &dyn Process,
    variance: Variance,
    decoder: f64,
) -> Vec<[f32; COEFFICIENTS as usize]> {
    let posterior = |t: u32| {
        let t = t.max(1).min(noise.timesteps() - 1);
        posterior_variance(alpha_bar_at(noise, Some(t)), alpha_bar_at(noise, t.checked_sub(1)))
    };
    let row = |t: u32| {
        let (alpha_bar, before) = (alpha_bar_at(noise, Some(t)), alpha_bar_at(noise, t.checked_sub(1)));
        let beta = noise.betas()[t as usize];
        let [k0, k1, ..] = process.to_x0_eps(f64::from(t));
        let x0 = before.sqrt() * beta / (1.0 - alpha_bar);
        let x = (1.0 - beta).sqrt() * (1.0 - before) / (1.0 - alpha_bar);
        let (smallest, largest) = (posterior(t).ln(), beta.ln());
        let [low, high] = match variance {
            Variance::LearnedRange if t == 0 && decoder > 0.0 => [2.0 * decoder.ln(), largest],
            Variance::LearnedRange => [smallest, largest],
            Variance::FixedSmall => [smallest; 2],
            // As in the programs of Ho et al. and of Nichol and Dhariwal: beta_0 decodes pixels worse.
            Variance::FixedLarge if t == 0 => [smallest; 2],
            Variance::FixedLarge => [largest; 2],
        };
        let first = if t == 0 { 1.0 } else { 0.0 };
        [k0, k1, x0, x, smallest, low, high, first].map(|x| x as f32)
    };
    (0..noise.timesteps()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{BetaSchedule, Discrete, Prediction};

    /// At timestep 0, Ho et al. and Nichol and Dhariwal decode with the posterior's variance at
    /// timestep 1, whichever variance the other steps have.
    #[test]
    fn fixed_variances_decode_with_the_posterior_at_timestep_1() {
        let schedule = BetaSchedule::Given { betas: vec![0.1, 0.2, 0.3] };
        let process = Discrete::new(NoiseSchedule::new(&schedule, 3, false).unwrap(), Prediction::Epsilon).unwrap();
        let posterior = 0.2f32 * 0.1 / (1.0 - 0.9 * 0.8);
        for (variance, at_1) in [(Variance::FixedSmall, posterior), (Variance::FixedLarge, 0.2)] {
            let rows = table(process.schedule().unwrap(), &process, variance, 0.0);
            for (row, expected) in rows.iter().zip([posterior, at_1]) {
                let [.., low, high, _] = *row;
                assert!((low.exp() - expected).abs() < 1e-6 && low == high, "{variance:?}: {low} {high}");
            }
        }
    }
}
