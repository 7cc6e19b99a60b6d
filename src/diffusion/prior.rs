//! The distribution of the initial noise of samplers, and the moments of the data on which it
//! depends.

use super::process::Process;
use super::schedule::{BetaSchedule, NoiseSchedule};
use serde::{Deserialize, Serialize};
use std::f64::consts::LN_2;

/// Size and moments of the images that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataMoments {
    /// Values of an image: channels times rows times columns.
    pub size: u32,
    /// Mean of all values, in [-1, 1].
    pub mean: f64,
    /// Standard deviation of all values.
    pub std: f64,
}

/// The initial noise x = mean + std z, with z ~ N(0, 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// The mean, the same for all values.
    pub mean: f32,
    /// The standard deviation.
    pub std: f32,
}

impl Prior {
    /// The prior of a process: mean 0.
    pub fn of(process: &dyn Process) -> Prior {
        Prior { mean: 0.0, std: process.prior_std() as f32 }
    }

    /// The distribution of x_t at a time: alpha mean and sqrt(sigma² + alpha² std²) of the data. A
    /// network expects it there. N(0, 1) lacks the part of the image that x_t still contains, and
    /// deterministic samplers turn this difference into brighter or darker images (Everaert et al.
    /// 2024; Lin et al. 2023).
    pub fn at(process: &dyn Process, data: DataMoments, t: f64) -> Prior {
        let at = process.marginal(t);
        Prior { mean: (at.alpha * data.mean) as f32, std: at.sigma.hypot(at.alpha * data.std) as f32 }
    }

    /// Initial noise from noise of N(0, 1).
    pub fn of_unit(&self, z: &[f32]) -> Vec<f32> {
        z.iter().map(|z| self.mean + self.std * z).collect()
    }

    /// Noise of N(0, 1) from initial noise.
    pub fn to_unit(&self, x: &[f32]) -> Vec<f32> {
        x.iter().map(|x| (x - self.mean) / self.std).collect()
    }
}

/// Nats of an image that initial noise may lack without a warning.
const MISSING_NATS: f64 = 0.1;
/// Bits of a value that initial noise may lack at the last timestep, if the data are not known. The
/// usual schedules are far below it.
const MISSING_BITS_AT_THE_END: f64 = 1e-3;
/// The same at an earlier timestep, where few steps start with `leading` spacing.
const MISSING_BITS: f64 = 0.01;

/// What initial noise lacks of the part of the image that the model expects at a timestep, as text,
/// if it is more than a limit: L_T of Ho et al. 2020, eq. 5, at this timestep. That is
/// 1/2 (abar s² - abar - log(1 - abar)) nats of each value, where s² is the mean square of the data
/// about the mean of the initial noise.
fn missing(noise: &NoiseSchedule, t: u32, data: Option<DataMoments>, most_bits: f64) -> Option<String> {
    match data {
        Some(data) => {
            let nats = f64::from(data.size) * noise.kl_nats(t, data.std * data.std);
            (nats > MISSING_NATS).then(|| format!("{nats:.2} nats of an image"))
        }
        None => {
            let bits = noise.kl_nats(t, 1.0) / LN_2;
            (bits > most_bits).then(|| format!("{bits:.3} bits per dimension"))
        }
    }
}

/// A warning for a schedule that does not end in pure noise.
pub(super) fn short_schedule_warning(process: &dyn Process, data: Option<DataMoments>) -> Option<String> {
    let noise = process.schedule()?;
    let missing = missing(noise, noise.timesteps() - 1, data, MISSING_BITS_AT_THE_END)?;
    let advice = match noise.schedule() {
        BetaSchedule::LogSnr(_) => "use a lower `end`",
        BetaSchedule::Cosine => "use more timesteps",
        schedule => match schedule.range() {
            Some(range) if range.rescale => "use a larger `beta_end` or the cosine schedule",
            Some(_) if noise.timesteps() < 1000 => "scale the betas by 1000/T (`rescale_betas = true`)",
            Some(_) => "use a larger `beta_end`, more timesteps or the cosine schedule",
            None => "use larger betas or the cosine schedule",
        },
    };
    Some(format!(
        "the {} schedule with T = {} does not end in pure noise: the last timestep contains {missing}, which the \
         initial noise lacks: {advice}",
        noise.schedule(),
        noise.timesteps()
    ))
}

/// A warning if sampling starts at a timestep at which the model expects part of the image, or
/// leaves out the last timestep of a schedule with zero terminal SNR (Lin et al. 2023, section
/// 3.3).
pub(super) fn late_start_warning(process: &dyn Process, first: f64, data: Option<DataMoments>) -> Option<String> {
    let (noise, first) = (process.schedule()?, first as u32);
    let last = noise.timesteps() - 1;
    if first == last {
        return None;
    }
    if noise.ends_in_pure_noise() {
        return Some(format!(
            "the model was trained with zero terminal SNR, and sampling starts at timestep {first}, not at the last, \
             {last}: use the spacing `trailing` (`timestep_spacing` in scheduler_config.json)"
        ));
    }
    missing(noise, first, data, MISSING_BITS).map(|missing| {
        format!(
            "sampling starts with noise at timestep {first} of 0..={last}, where the model expects part of an image \
             ({missing}): use the spacing `trailing` or more steps"
        )
    })
}
