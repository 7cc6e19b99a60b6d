//! Options of samplers.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Variance of the noise that DDPM adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum Variance {
    /// Posterior variance, exact if the data is a single point. `fixed_small_log` is the same.
    #[default]
    #[serde(alias = "fixed_small_log")]
    #[cfg_attr(feature = "cli", value(alias = "fixed_small_log"))]
    FixedSmall,
    /// beta_t, exact for data N(0, 1). Meant for samplers that visit (nearly) all timesteps.
    FixedLarge,
    /// The network's variance, between the other two (Nichol and Dhariwal 2021, eq. 15).
    LearnedRange,
}

/// Options of all samplers. A sampler refuses options that it does not have. An option that
/// diffusers also has bears the name that it has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default, deny_unknown_fields)]
pub struct SamplerOptions {
    /// DDPM: variance of the added noise [default: the run's, or learned_range if the model learned
    /// a variance, or fixed_small]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long = "variance", value_enum))]
    pub variance_type: Option<Variance>,
    /// DDIM and DPM-Solver++: noise, from 0 (none) to 1 (as much as DDPM) [default: the
    /// run's with its sampler, or 0]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub eta: Option<f64>,
    /// DDIM: whether the last step goes to the image (true) or only to timestep 0 [default: the
    /// checkpoint's, or true]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long))]
    pub set_alpha_to_one: Option<bool>,
    /// DDIM: whether eps is computed from the clipped image [default: true; in diffusers: false]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long))]
    pub use_clipped_model_output: Option<bool>,
    /// Heun: noise added before each step, S_churn of Karras et al. 2022 [default: 0, no noise]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub churn: Option<f64>,
    /// Predictor-corrector: signal-to-noise ratio of the Langevin steps [default: 0.16]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub snr: Option<f64>,
    /// ODE: relative tolerance [default: 1e-5]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub rtol: Option<f64>,
    /// ODE: absolute tolerance [default: 1e-5]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub atol: Option<f64>,
}

impl SamplerOptions {
    /// These options, completed by `others`.
    pub fn or(self, others: SamplerOptions) -> SamplerOptions {
        SamplerOptions {
            variance_type: self.variance_type.or(others.variance_type),
            eta: self.eta.or(others.eta),
            set_alpha_to_one: self.set_alpha_to_one.or(others.set_alpha_to_one),
            use_clipped_model_output: self.use_clipped_model_output.or(others.use_clipped_model_output),
            churn: self.churn.or(others.churn),
            snr: self.snr.or(others.snr),
            rtol: self.rtol.or(others.rtol),
            atol: self.atol.or(others.atol),
        }
    }

    /// The option `eta`, or its default.
    ///
    /// # Errors
    /// [`Error::Config`] outside 0 to 1.
    pub(super) fn eta(&self) -> Result<f64> {
        let eta = self.eta.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::Config(format!("eta = {eta}: use 0 (no noise) to 1 (as much as DDPM)")));
        }
        Ok(eta)
    }

    /// The options that are set, by their keys.
    pub(super) fn set(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(set)) => set,
            other => unreachable!("options are a JSON object, not {other:?}"),
        }
    }

    /// Refuses options other than `own`.
    pub(super) fn only(&self, sampler: &str, own: &[&str]) -> Result<()> {
        match self.set().keys().find(|key| !own.contains(&key.as_str())) {
            Some(key) if own.is_empty() => {
                Err(Error::Config(format!("the sampler {sampler} has no options, so no {}", option_name(key))))
            }
            Some(key) => {
                let own: Vec<String> = own.iter().map(|key| option_name(key)).collect();
                Err(Error::Config(format!(
                    "the sampler {sampler} has no {}: it has {}",
                    option_name(key),
                    own.join(", ")
                )))
            }
            None => Ok(()),
        }
    }
}

/// The name of an option on the command line, from its key.
pub(super) fn option_name(key: &str) -> String {
    let name = if key == "variance_type" { "variance".into() } else { key.replace('_', "-") };
    format!("--{name}")
}
