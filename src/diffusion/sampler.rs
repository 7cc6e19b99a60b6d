//! What a sampler is: a row of coefficients for each visited time step.

use super::prediction::Prediction;
use super::schedule::NoiseSchedule;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// Variance of the noise that DDPM adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Variance {
    /// That of the posterior: right if the data were one point. `fixed_small_log` is another way to compute the same.
    #[default]
    #[serde(alias = "fixed_small_log")]
    FixedSmall,
    /// beta_t: right if the data were N(0, 1). Only for (nearly) all time steps.
    FixedLarge,
}

/// What can be asked of a sampler; a sampler refuses what it does not have. The names are those of diffusers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerOptions {
    /// DDPM: variance of the noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance_type: Option<Variance>,
    /// DDIM: 0 for none of DDPM's noise, 1 for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta: Option<f64>,
    /// DDIM: whether the last step goes to the image (true) or only to time step 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_alpha_to_one: Option<bool>,
    /// DDIM: whether the noise is computed anew from the clipped image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_clipped_model_output: Option<bool>,
}

impl SamplerOptions {
    /// Refuses what was asked for besides `own`.
    pub(super) fn only(&self, sampler: &str, own: &[&str]) -> Result<()> {
        let asked = serde_json::to_value(self).expect("numbers and names have a form in JSON");
        match asked.as_object().and_then(|asked| asked.keys().find(|key| !own.contains(&key.as_str()))) {
            Some(key) => Err(Error::Config(format!("the sampler {sampler} has no `{key}`: it has {}", own.join(", ")))),
            None => Ok(()),
        }
    }
}

/// One visit of a sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The time step.
    pub t: u32,
    /// The time step visited next; `None` after the last.
    pub next: Option<u32>,
    /// How many are visited in all.
    pub visits: u32,
}

/// All that the operator `denoise` needs: for visit k, the model runs at `timesteps[k]` and its output is used with row k.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingPlan {
    /// `[S]`, falling.
    pub timesteps: Vec<u32>,
    /// [S, 8] = (c0 .. c7): x_0 = clip(c0 x + c1 m), e = c2 x + c3 m, x' = c4 x_0 + c5 x + c6 e + c7 z, for the model's output m and
    /// z ~ N(0, 1).
    pub table: Vec<[f32; 8]>,
    /// Bound on the magnitude of the predicted image; infinite for none.
    pub clip: f32,
}

/// A sampler whose step is linear in the predicted image, x_t, the predicted noise, and fresh noise.
pub trait Sampler: Debug {
    /// (c4, c5, c6, c7) of x' = c4 x_0 + c5 x + c6 e + c7 z, for the (clipped) predicted image x_0 and the predicted noise e.
    fn update(&self, noise: &NoiseSchedule, place: Place) -> [f64; 4];

    /// What a user should know about this sampler at these time steps.
    fn warnings(&self, noise: &NoiseSchedule, timesteps: &[u32]) -> Vec<String> {
        late_start(noise, timesteps).into_iter().collect()
    }

    /// The plan for a model that makes `prediction`, visiting `timesteps` (falling). `clip` bounds the predicted image, as the data is
    /// bounded: 1, or infinity for none.
    ///
    /// # Errors
    /// [`Error::Config`] for time steps that do not fall or are not below T, a clip that is not positive, and those of
    /// [`Prediction::check`].
    fn plan(
        &self,
        noise: &NoiseSchedule,
        prediction: Prediction,
        timesteps: &[u32],
        clip: f32,
    ) -> Result<SamplingPlan> {
        let steps = noise.steps();
        let falling = timesteps.windows(2).all(|pair| pair[1] < pair[0]);
        if !falling || timesteps.first().is_none_or(|&first| first >= steps) {
            return Err(Error::Config(format!(
                "the time steps to visit must fall, from below {steps}, the number that the model was trained with: {timesteps:?}"
            )));
        }
        if clip.is_nan() || clip <= 0.0 {
            return Err(Error::Config(format!(
                "the predicted image is clipped to {clip}: use a positive number, usually 1"
            )));
        }
        let conversion = prediction.conversion(noise)?;
        let row = |(k, &t): (usize, &u32)| {
            let place = Place { t, next: timesteps.get(k + 1).copied(), visits: timesteps.len() as u32 };
            let [c0, c1, c2, c3] = conversion[t as usize];
            let [c4, c5, c6, c7] = self.update(noise, place);
            [c0, c1, c2, c3, c4, c5, c6, c7].map(|c| c as f32)
        };
        let table = timesteps.iter().enumerate().map(row).collect();
        Ok(SamplingPlan { timesteps: timesteps.to_vec(), table, clip })
    }
}

/// A warning if the first visited time step, which gets pure noise, is one where the model expects to see something of the image.
pub(super) fn late_start(noise: &NoiseSchedule, timesteps: &[u32]) -> Option<String> {
    let first = *timesteps.first().filter(|&&first| first < noise.steps())?;
    let bits = noise.kl_bits(first, 1.0);
    let last = noise.steps() - 1;
    (first < last && bits > 0.01).then(|| {
        format!(
            "sampling starts with pure noise at time step {first} of 0..={last}, where the model expects something of an image ({bits:.3} bits \
             a dimension): use more steps or the spacing `trailing`"
        )
    })
}

/// abar at the time step that a visit leads to: 1 beyond the first.
pub(super) fn bar_at(noise: &NoiseSchedule, t: Option<u32>) -> f64 {
    t.map_or(1.0, |t| noise.alphas_cumprod()[t as usize])
}

/// Variance of x_p given x_t and x_0, from abar_t and abar_p (Ho et al. 2020, eq. 7; Song et al. 2021, eq. 16 with eta = 1).
pub(super) fn posterior_variance(bar: f64, bar_next: f64) -> f64 {
    (1.0 - bar_next) / (1.0 - bar) * (1.0 - bar / bar_next)
}
