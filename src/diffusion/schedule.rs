//! Noise schedules: how much of the image is left at each timestep.
//!
//! x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, with abar_t the product of (1 - beta_s) over s <=
//! t (Ho et al. 2020, eq. 4). The formulas and constants are the same as in diffusers. They are
//! computed in f64 where diffusers uses f32 (the results agree to 6e-6).

use crate::output::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_PI_2, LN_2};
use std::fmt;
use std::str::FromStr;

/// The number of timesteps for which the usual betas were chosen.
const USUAL_TIMESTEPS: f64 = 1000.0;

/// Upper limit that catches damaged files and typing errors.
const MAX_TIMESTEPS: u32 = 1 << 20;

/// First and last beta of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BetaRange {
    /// The first beta: 1e-4.
    pub beta_start: f64,
    /// The last beta: 0.02.
    pub beta_end: f64,
    /// Whether both are multiplied by 1000/T (the default), because they are meant for 1000
    /// timesteps. Without it a short schedule ends before the image has become noise.
    pub rescale: bool,
}

impl Default for BetaRange {
    fn default() -> BetaRange {
        BetaRange { beta_start: 1e-4, beta_end: 0.02, rescale: true }
    }
}

impl BetaRange {
    /// First and last beta of a schedule with T = `timesteps`.
    pub fn for_timesteps(&self, timesteps: u32) -> [f64; 2] {
        let factor = if self.rescale { USUAL_TIMESTEPS / f64::from(timesteps) } else { 1.0 };
        [self.beta_start * factor, self.beta_end * factor]
    }
}

/// First and last log SNR of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSnrRange {
    /// The log SNR at the first timestep: 13.3, where the noise has a standard deviation of 0.0013, a
    /// sixth of the distance of two bytes.
    pub start: f64,
    /// The log SNR at the last timestep: -8.
    pub end: f64,
}

impl Default for LogSnrRange {
    fn default() -> LogSnrRange {
        LogSnrRange { start: 13.3, end: -8.0 }
    }
}

/// How the betas are chosen. In a configuration: `{ name = "linear", beta_end = 0.02 }`; on a
/// command line: the name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
#[serde(expecting = "a table such as `schedule = { name = \"cosine\" }`")]
pub enum BetaSchedule {
    /// Equally spaced betas (Ho et al. 2020, section 4).
    Linear(BetaRange),
    /// Betas whose square roots are equally spaced (Rombach et al. 2022).
    ScaledLinear(BetaRange),
    /// abar_t = cos²(((t + 1)/T + 0.008)/1.008 · pi/2), betas at most 0.999 (Nichol and Dhariwal
    /// 2021, eq. 17): `squaredcos_cap_v2` in diffusers.
    #[serde(alias = "squaredcos_cap_v2", deserialize_with = "super::no_parameters")]
    Cosine,
    /// Betas along a sigmoid from -6 to 6 (GeoDiff, Xu et al. 2022).
    Sigmoid(BetaRange),
    /// log SNR = log(abar_t / (1 - abar_t)) falls linearly (Kingma et al. 2021, section 5 and
    /// appendix D). With the prediction epsilon, the loss weighting `simple` is then the variational
    /// bound.
    LogSnr(LogSnrRange),
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
            BetaSchedule::LogSnr(_) => "log_snr",
            BetaSchedule::Given { .. } => "given",
        })
    }
}

impl BetaSchedule {
    /// Betas `[T]`, not yet checked.
    pub fn betas(&self, timesteps: u32) -> Vec<f64> {
        match self {
            BetaSchedule::Linear(range) => linspace(range.for_timesteps(timesteps), timesteps),
            BetaSchedule::ScaledLinear(range) => {
                let roots = linspace(range.for_timesteps(timesteps).map(f64::sqrt), timesteps);
                roots.into_iter().map(|root| root * root).collect()
            }
            BetaSchedule::Cosine => {
                let left = |t: u32| ((f64::from(t) / f64::from(timesteps) + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
                (0..timesteps).map(|t| (1.0 - left(t + 1) / left(t)).min(0.999)).collect()
            }
            BetaSchedule::Sigmoid(range) => {
                let [start, end] = range.for_timesteps(timesteps);
                linspace([-6.0, 6.0], timesteps)
                    .into_iter()
                    .map(|x| (end - start) / (1.0 + (-x).exp()) + start)
                    .collect()
            }
            BetaSchedule::LogSnr(LogSnrRange { start, end }) => {
                // 1 - abar is the sigmoid of -log SNR.
                let log_snr = linspace([*start, *end], timesteps);
                let noise: Vec<f64> = log_snr.into_iter().map(|log_snr| 1.0 / (1.0 + log_snr.exp())).collect();
                let step = |pair: &[f64]| (pair[1] - pair[0]) / (1.0 - pair[0]);
                noise.iter().take(1).copied().chain(noise.windows(2).map(step)).collect()
            }
            BetaSchedule::Given { betas } => betas.clone(),
        }
    }

    pub(super) fn range(&self) -> Option<&BetaRange> {
        match self {
            BetaSchedule::Linear(range) | BetaSchedule::ScaledLinear(range) | BetaSchedule::Sigmoid(range) => {
                Some(range)
            }
            BetaSchedule::Cosine | BetaSchedule::LogSnr(_) | BetaSchedule::Given { .. } => None,
        }
    }
}

/// `count` equally spaced numbers from `start` to `end`, both included exactly.
fn linspace([start, end]: [f64; 2], count: u32) -> Vec<f64> {
    let step = (end - start) / f64::from(count.max(2) - 1);
    let at = |i: u32| {
        if i < count.div_ceil(2) { start + step * f64::from(i) } else { end - step * f64::from(count - 1 - i) }
    };
    (0..count).map(at).collect()
}

/// Betas rescaled so that sqrt(abar) is 0 at the last step and keeps its value at the first (Lin et
/// al. 2023, algorithm 1).
fn with_zero_terminal_snr(betas: &[f64]) -> Vec<f64> {
    let roots: Vec<f64> = cumulative_product(betas).into_iter().map(f64::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let alpha_bar = |t: usize| ((roots[t] - last) * (first / (first - last))).powi(2);
    (0..roots.len()).map(|t| 1.0 - if t == 0 { alpha_bar(0) } else { alpha_bar(t) / alpha_bar(t - 1) }).collect()
}

fn cumulative_product(betas: &[f64]) -> Vec<f64> {
    let product = |alpha_bar: &mut f64, beta: &f64| {
        *alpha_bar *= 1.0 - beta;
        Some(*alpha_bar)
    };
    betas.iter().scan(1.0, product).collect()
}

/// The computed schedule of T timesteps.
///
/// ```
/// # use degrain::diffusion::{BetaSchedule, NoiseSchedule};
/// let noise = NoiseSchedule::new(&BetaSchedule::Cosine, 1000, false)?;
/// assert_eq!(noise.timesteps(), 1000);
/// // abar falls from image to noise.
/// assert!(noise.alphas_cumprod()[0] > 0.999 && noise.alphas_cumprod()[999] < 1e-4);
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NoiseSchedule {
    schedule: BetaSchedule,
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// Computes `schedule` for T = `timesteps`. `zero_terminal_snr` rescales it so that the last
    /// timestep is pure noise. With such a schedule,
    /// [`Prediction::check`](super::Prediction::check) refuses the prediction `epsilon`.
    ///
    /// # Errors
    /// [`Error::Config`] for no timesteps, for a number of given betas other than T, for a beta
    /// outside (0, 1), and for a first beta above the last one.
    pub fn new(schedule: &BetaSchedule, timesteps: u32, zero_terminal_snr: bool) -> Result<NoiseSchedule> {
        let fewest = if zero_terminal_snr { 2 } else { 1 };
        if !(fewest..=MAX_TIMESTEPS).contains(&timesteps) {
            return Err(Error::Config(format!(
                "a noise schedule of {}: use {fewest} to {MAX_TIMESTEPS}, usually 1000",
                counted(timesteps, "timestep")
            )));
        }
        if let Some(&BetaRange { beta_start, beta_end, .. }) = schedule.range()
            && !(0.0 < beta_start && beta_start <= beta_end && beta_end < 1.0)
        {
            let usual = BetaRange::default();
            return Err(Error::Config(format!(
                "the {schedule} schedule with beta_start = {beta_start} and beta_end = {beta_end}: they must be between 0 \
                 and 1, and beta_start at most beta_end, usually {} and {}",
                usual.beta_start, usual.beta_end
            )));
        }
        if let BetaSchedule::LogSnr(LogSnrRange { start, end }) = schedule
            && !(end < start && start.is_finite() && end.is_finite())
        {
            let usual = LogSnrRange::default();
            return Err(Error::Config(format!(
                "the log_snr schedule with start = {start} and end = {end}: use finite numbers, start above end, usually {} \
                 and {}",
                usual.start, usual.end
            )));
        }
        let mut betas = schedule.betas(timesteps);
        if betas.len() != timesteps as usize {
            return Err(Error::Config(format!(
                "{} given for {}: give one for each",
                counted(betas.len(), "beta"),
                counted(timesteps, "timestep")
            )));
        }
        for (t, &beta) in betas.iter().enumerate() {
            let last = t + 1 == betas.len() && matches!(schedule, BetaSchedule::Given { .. });
            if !(beta > 0.0 && (beta < 1.0 || last && beta == 1.0)) {
                let advice = match schedule.range() {
                    Some(range) if range.rescale => format!(
                        "betas are scaled by 1000/T, which needs T >= {:.0} here; for fewer steps train with 1000 and sample with fewer, \
                         or use the cosine schedule",
                        (USUAL_TIMESTEPS * range.beta_end).floor() + 1.0
                    ),
                    _ => "betas must be between 0 and 1".to_string(),
                };
                return Err(Error::Config(format!(
                    "the {schedule} schedule with T = {timesteps} has the beta {beta} at timestep {t}: {advice}"
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

    /// T, the number of timesteps.
    pub fn timesteps(&self) -> u32 {
        self.betas.len() as u32
    }

    /// beta_t, `[T]`: the variance of the noise that step t adds.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// abar_t, `[T]`: the share of the image in the variance of x_t, for an image of unit variance.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// abar_t / (1 - abar_t), `[T]`: the signal-to-noise ratio.
    pub fn snr(&self) -> Vec<f64> {
        self.alphas_cumprod.iter().map(|alpha_bar| alpha_bar / (1.0 - alpha_bar)).collect()
    }

    /// Whether the last step is pure noise.
    pub fn ends_in_pure_noise(&self) -> bool {
        self.alphas_cumprod[self.betas.len() - 1] == 0.0
    }

    /// L_T in bits per dimension: KL(q(x_T | x_0) || N(0, 1)) averaged over the data (Ho et al.
    /// 2020, eq. 5), from the mean square of the data's pixels on the scale [-1, 1].
    pub fn terminal_kl_bits(&self, second_moment: f64) -> f64 {
        self.kl_nats(self.timesteps() - 1, second_moment) / LN_2
    }

    /// The same for x_t, in nats.
    pub(super) fn kl_nats(&self, t: u32, second_moment: f64) -> f64 {
        let alpha_bar = self.alphas_cumprod[t as usize];
        0.5 * (alpha_bar * second_moment - alpha_bar - (-alpha_bar).ln_1p())
    }
}
