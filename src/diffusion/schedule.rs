//! Noise schedules: how much of the image is left at each time step.
//!
//! x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with abar_t the product of (1 - beta_s) over s <= t (Ho et al. 2020, eq. 4).
//! Formulas and numbers are those of diffusers, in f64 where it computes in f32 (the two agree to 6e-6).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_PI_2, LN_2};
use std::fmt;
use std::str::FromStr;

/// The number of time steps that the usual betas were made for.
const USUAL_STEPS: f64 = 1000.0;

/// More time steps than this are a damaged file or a slip of the hand.
const MOST_STEPS: u32 = 1 << 20;

/// L_T above this, in bits per dimension, means that sampling starts from something the model never saw.
const FAR_FROM_NOISE: f64 = 1e-3;

/// First and last beta of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BetaRange {
    /// The first beta: 1e-4.
    pub beta_start: f64,
    /// The last beta: 0.02.
    pub beta_end: f64,
    /// Whether both are meant for 1000 time steps, and multiplied by 1000/T for another number T (the default). Without it a short schedule
    /// stops while the image is still to be seen.
    pub rescale: bool,
}

impl Default for BetaRange {
    fn default() -> BetaRange {
        BetaRange { beta_start: 1e-4, beta_end: 0.02, rescale: true }
    }
}

impl BetaRange {
    /// First and last beta of a schedule of `steps` time steps.
    pub fn for_steps(&self, steps: u32) -> [f64; 2] {
        let factor = if self.rescale { USUAL_STEPS / f64::from(steps) } else { 1.0 };
        [self.beta_start * factor, self.beta_end * factor]
    }
}

/// A way to choose the betas. In a configuration: `{ name = "linear", beta_end = 0.02 }`; from a command line: the name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Equally spaced betas (Ho et al. 2020, section 4).
    Linear(BetaRange),
    /// Betas whose square roots are equally spaced (Rombach et al. 2022).
    ScaledLinear(BetaRange),
    /// abar_t = cos²(((t + 1)/T + 0.008)/1.008 · pi/2), betas at most 0.999 (Nichol and Dhariwal 2021, eq. 17): `squaredcos_cap_v2` in diffusers.
    #[serde(alias = "squaredcos_cap_v2")]
    Cosine,
    /// Betas along a sigmoid from -6 to 6 (GeoDiff, Xu et al. 2022).
    Sigmoid(BetaRange),
    /// Betas given one by one, `[T]`.
    Given {
        /// Each in (0, 1); the last may be 1.
        betas: Vec<f64>,
    },
}

impl Default for BetaSchedule {
    fn default() -> BetaSchedule {
        BetaSchedule::Linear(BetaRange::default())
    }
}

impl FromStr for BetaSchedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<BetaSchedule> {
        super::from_name("the schedule", name)
    }
}

impl fmt::Display for BetaSchedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            BetaSchedule::Linear(_) => "linear",
            BetaSchedule::ScaledLinear(_) => "scaled_linear",
            BetaSchedule::Cosine => "cosine",
            BetaSchedule::Sigmoid(_) => "sigmoid",
            BetaSchedule::Given { .. } => "given",
        })
    }
}

impl BetaSchedule {
    /// Betas [T], not yet checked.
    pub(super) fn betas(&self, steps: u32) -> Vec<f64> {
        match self {
            BetaSchedule::Linear(range) => linspace(range.for_steps(steps), steps),
            BetaSchedule::ScaledLinear(range) => {
                let roots = linspace(range.for_steps(steps).map(f64::sqrt), steps);
                roots.into_iter().map(|root| root * root).collect()
            }
            BetaSchedule::Cosine => {
                let left = |t: u32| ((f64::from(t) / f64::from(steps) + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
                (0..steps).map(|t| (1.0 - left(t + 1) / left(t)).min(0.999)).collect()
            }
            BetaSchedule::Sigmoid(range) => {
                let [start, end] = range.for_steps(steps);
                linspace([-6.0, 6.0], steps).into_iter().map(|x| (end - start) / (1.0 + (-x).exp()) + start).collect()
            }
            BetaSchedule::Given { betas } => betas.clone(),
        }
    }

    fn range(&self) -> Option<&BetaRange> {
        match self {
            BetaSchedule::Linear(range) | BetaSchedule::ScaledLinear(range) | BetaSchedule::Sigmoid(range) => {
                Some(range)
            }
            BetaSchedule::Cosine | BetaSchedule::Given { .. } => None,
        }
    }
}

/// `count` numbers from `start` to `end`, both met exactly.
fn linspace([start, end]: [f64; 2], count: u32) -> Vec<f64> {
    let step = (end - start) / f64::from(count.max(2) - 1);
    let at = |i: u32| {
        if i < count.div_ceil(2) { start + step * f64::from(i) } else { end - step * f64::from(count - 1 - i) }
    };
    (0..count).map(at).collect()
}

/// Betas that shift sqrt(abar) so that nothing of the image is left at the last step, and the first keeps its value (Lin et al. 2023, algorithm 1).
fn with_zero_terminal_snr(betas: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = cumulative_product(betas).into_iter().map(f64::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let bar = |t: usize| ((roots[t] - last) * (first / (first - last))).powi(2);
    (0..roots.len()).map(|t| 1.0 - if t == 0 { bar(0) } else { bar(t) / bar(t - 1) }).collect()
}

fn cumulative_product(betas: &[f64]) -> Vec<f64> {
    let product = |bar: &mut f64, beta: &f64| {
        *bar *= 1.0 - beta;
        Some(*bar)
    };
    betas.iter().scan(1.0, product).collect()
}

/// A schedule of T time steps, worked out and checked.
#[derive(Clone, Debug)]
pub struct NoiseSchedule {
    schedule: BetaSchedule,
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// Works out `schedule` for `steps` time steps. `zero_terminal_snr` changes it so that the last step is pure noise; then the model
    /// cannot predict epsilon, which [`Prediction`](super::Prediction) refuses.
    ///
    /// # Errors
    /// [`Error::Config`] for no time steps, for a number of given betas other than T, and for a beta outside (0, 1).
    pub fn new(schedule: &BetaSchedule, steps: u32, zero_terminal_snr: bool) -> Result<NoiseSchedule> {
        let fewest = if zero_terminal_snr { 2 } else { 1 };
        if !(fewest..=MOST_STEPS).contains(&steps) {
            return Err(Error::Config(format!(
                "a noise schedule of {steps} time steps: use {fewest} to {MOST_STEPS}, usually 1000"
            )));
        }
        let mut betas = schedule.betas(steps);
        if betas.len() != steps as usize {
            return Err(Error::Config(format!(
                "{} betas were given for {steps} time steps: give one for each",
                betas.len()
            )));
        }
        for (t, &beta) in betas.iter().enumerate() {
            let last = t + 1 == betas.len() && matches!(schedule, BetaSchedule::Given { .. });
            if !(beta > 0.0 && (beta < 1.0 || last && beta == 1.0)) {
                let advice = match schedule.range() {
                    Some(range) if range.rescale && range.beta_end < 1.0 => format!(
                        "betas are scaled by 1000/T, which needs T >= {:.0} here; for fewer steps train with 1000 and sample with fewer, \
                         or use the cosine schedule",
                        (USUAL_STEPS * range.beta_end.max(range.beta_start)).floor() + 1.0
                    ),
                    _ => "betas lie between 0 and 1".to_string(),
                };
                return Err(Error::Config(format!(
                    "the {schedule} schedule with T = {steps} has the beta {beta} at time step {t}: {advice}"
                )));
            }
        }
        if zero_terminal_snr {
            betas = with_zero_terminal_snr(&betas);
        }
        let alphas_cumprod = cumulative_product(&betas);
        Ok(NoiseSchedule { schedule: schedule.clone(), betas, alphas_cumprod })
    }

    /// How the betas were chosen.
    pub fn schedule(&self) -> &BetaSchedule {
        &self.schedule
    }

    /// T, the number of time steps.
    pub fn timesteps(&self) -> u32 {
        self.betas.len() as u32
    }

    /// beta_t, `[T]`: the variance of the noise that step t adds.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// abar_t, `[T]`: the part of x_t's variance that is still image (of unit variance).
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// abar_t / (1 - abar_t), `[T]`: the signal-to-noise ratio.
    pub fn snr(&self) -> Vec<f64> {
        self.alphas_cumprod.iter().map(|bar| bar / (1.0 - bar)).collect()
    }

    /// Whether nothing of the image is left at the last step.
    pub fn ends_in_pure_noise(&self) -> bool {
        self.alphas_cumprod[self.betas.len() - 1] == 0.0
    }

    /// L_T in bits per dimension: KL(q(x_T | x_0) || N(0, 1)) averaged over the data (Ho et al. 2020, eq. 5), from the mean of the squares
    /// of the data's pixels on the scale [-1, 1].
    pub fn terminal_kl_bits(&self, second_moment: f64) -> f64 {
        self.kl_bits(self.timesteps() - 1, second_moment)
    }

    /// The same for x_t.
    pub(super) fn kl_bits(&self, t: u32, second_moment: f64) -> f64 {
        let bar = self.alphas_cumprod[t as usize];
        0.5 * (bar * second_moment - bar - (-bar).ln_1p()) / LN_2
    }

    /// What to tell a user whose schedule ends far from pure noise: L_T above 0.001 bits per dimension for data of unit variance.
    pub fn warning(&self) -> Option<String> {
        let bits = self.terminal_kl_bits(1.0);
        let advice = match self.schedule.range() {
            Some(range) if !range.rescale && self.timesteps() < 1000 => {
                "scale the betas by 1000/T (`rescale_betas = true`)"
            }
            Some(_) => "use a larger `beta_end`, more time steps or the cosine schedule",
            None => "use larger betas or the cosine schedule",
        };
        (bits > FAR_FROM_NOISE).then(|| {
            format!(
                "the {} schedule with T = {} ends far from pure noise: L_T = {bits:.4} bits a dimension, and more than {FAR_FROM_NOISE} means \
                 that sampling starts from something the model never saw: {advice}",
                self.schedule,
                self.timesteps()
            )
        })
    }
}
