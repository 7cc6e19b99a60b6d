//! T discrete timesteps (Ho et al. 2020): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.
//!
//! Between timesteps log(sigma / alpha) is interpolated linearly, so that solvers may stop anywhere
//! (Karras et al. 2022, appendix C).

use crate::Result;
use crate::diffusion::prediction::Prediction;
use crate::diffusion::process::{Family, Marginal, Parameterization, Process};
use crate::diffusion::schedule::NoiseSchedule;

/// A noise schedule, and the network's prediction target.
#[derive(Clone, Debug)]
pub struct Discrete {
    noise: NoiseSchedule,
    prediction: Prediction,
    /// log(sigma / alpha) at each timestep; infinite in pure noise.
    log_ratios: Vec<f64>,
}

impl Discrete {
    /// Creates the process of a schedule, with a network that predicts `prediction`.
    ///
    /// # Errors
    /// See [`Prediction::check`].
    pub fn new(noise: NoiseSchedule, prediction: Prediction) -> Result<Discrete> {
        prediction.check(&noise)?;
        let log_ratios =
            noise.alphas_cumprod().iter().map(|alpha_bar| 0.5 * ((1.0 - alpha_bar) / alpha_bar).ln()).collect();
        Ok(Discrete { noise, prediction, log_ratios })
    }

    fn last(&self) -> usize {
        self.log_ratios.len() - 1
    }
}

impl Process for Discrete {
    fn describe(&self) -> String {
        let (schedule, prediction) = (self.noise.schedule(), self.prediction);
        format!("{schedule} schedule, T = {}, predicts {prediction}", self.noise.timesteps())
    }

    fn family(&self) -> Family {
        Family::Discrete
    }

    fn t_range(&self) -> [f64; 2] {
        // The ratio of pure noise is infinite, so solvers start one timestep later.
        let pure = usize::from(self.noise.ends_in_pure_noise());
        [(self.last() - pure) as f64, 0.0]
    }

    fn marginal(&self, t: f64) -> Marginal {
        let (below, alpha_bars) = (t.floor().clamp(0.0, self.last() as f64) as usize, self.noise.alphas_cumprod());
        if t == below as f64 && alpha_bars[below] == 0.0 {
            return Marginal { alpha: 0.0, sigma: 1.0, alpha_rate: 0.0, sigma_rate: 0.0 };
        }
        let from = below.min(self.last().saturating_sub(1));
        let rate = match self.log_ratios.get(from + 1).filter(|ratio| ratio.is_finite()) {
            Some(above) => above - self.log_ratios[from],
            None => 0.0,
        };
        let alpha_bar = if t == below as f64 {
            alpha_bars[below]
        } else {
            1.0 / (1.0 + (2.0 * (self.log_ratios[from] + rate * (t - from as f64))).exp())
        };
        // d alpha = -alpha sigma² d log(ratio), d sigma = alpha² sigma d log(ratio), as alpha² +
        // sigma² = 1.
        let (alpha, sigma) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        Marginal { alpha, sigma, alpha_rate: -alpha * (1.0 - alpha_bar) * rate, sigma_rate: alpha_bar * sigma * rate }
    }

    fn time_of_ratio(&self, ratio: f64) -> f64 {
        let wanted = ratio.ln();
        let above = self.log_ratios.partition_point(|&ratio| ratio < wanted);
        if above == 0 || above > self.last() {
            return above.min(self.last()) as f64;
        }
        let (low, high) = (self.log_ratios[above - 1], self.log_ratios[above]);
        let part = if high.is_finite() { (wanted - low) / (high - low) } else { 0.0 };
        (above - 1) as f64 + part
    }

    fn parameterization(&self, t: f64) -> Parameterization {
        let at = self.marginal(t);
        Parameterization { c_in: 1.0, time: t, target: self.prediction.target([at.alpha, at.sigma]) }
    }

    fn training_times(&self) -> Vec<f64> {
        (0..=self.last()).map(|t| t as f64).collect()
    }

    fn schedule(&self) -> Option<&NoiseSchedule> {
        Some(&self.noise)
    }
}
