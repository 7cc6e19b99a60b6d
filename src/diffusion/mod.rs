//! Diffusion: noise schedules, processes, samplers, guidance, and the generator that samples on a
//! device.
//!
//! All coefficients are computed on the host in f64 and become small f32 tables for the operators
//! `q_sample`, `mse`, `sampler_step`, `langevin` and `vlb`. Only the generator, the autoencoder's
//! decoder and inpainting run programs.
//!
//! From a setting to images: [`SamplingOptions`] (all optional) -> [`Sampling`] (resolved) ->
//! [`SamplingPlan`] (tables for a process) -> [`Generator`] (compiled for a denoiser).

pub mod autoencoder;
mod denoiser;
mod frames;
mod generator;
pub mod guidance;
pub mod inpaint;
pub mod interpolation;
pub mod inversion;
pub mod latent_prior;
pub mod ode;
pub mod plan;
pub mod prediction;
mod prior;
pub mod process;
pub mod processes;
mod sample_set;
pub mod sampler;
mod sampler_options;
pub mod samplers;
mod sampling;
mod sampling_effect;
pub mod schedule;
mod scope;
pub mod sdedit;
pub mod spacing;
pub mod variational;
pub mod weighting;

pub use denoiser::{Denoiser, DenoiserSpec};
pub use frames::FrameTimes;
pub use generator::{BatchSpec, Generator, Observer, StageNoise};
pub use guidance::{ClassifierGuide, Guidance, GuidanceInterval, Labels};
pub use plan::{SamplingPlan, StagePlan};
pub use prediction::Prediction;
pub use prior::{DataMoments, Prior};
pub use process::{Process, TrainingTables};
pub use processes::{Discrete, ProcessConfig};
pub use sample_set::{SampleSet, SampledImages};
pub use sampler::{Sampler, SamplerOptions, Variance};
pub use samplers::{SAMPLERS_VERSION, SamplerName};
pub use sampling::{Sampling, SamplingOptions};
pub use schedule::{BetaRange, BetaSchedule, LogSnrRange, NoiseSchedule};
pub use scope::Scope;
pub use spacing::Spacing;
pub use weighting::LossWeighting;

/// Reads a variant without parameters. Serde ignores them in a variant that has no fields.
fn no_parameters<'de, D: serde::Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoParameters {}
    <NoParameters as serde::Deserialize>::deserialize(from).map(|_| ())
}

/// Parses a setting given by its name alone, with default parameters: `"cosine"`, `"min_snr"`.
fn from_name<T: serde::de::DeserializeOwned>(what: &str, name: &str) -> crate::Result<T> {
    serde_json::from_value(serde_json::json!({ "name": name }))
        .map_err(|problem| crate::Error::Config(format!("{what} `{name}`: {problem}")))
}
