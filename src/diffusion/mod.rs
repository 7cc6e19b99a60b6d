//! The arithmetic of diffusion: noise schedules, what the model predicts, time steps, samplers, guidance.
//!
//! Floor 3: everything is computed on the host in f64 and handed down as small f32 tables for the operators `mix`, `mse` and `denoise`.
//! Only `generator` runs something on a device; the rest must not know how a model computes, nor what a GPU is.

pub mod autoencoder;
mod checkpoint_metadata;
mod denoiser;
mod generator;
pub mod guidance;
pub mod inpaint;
pub mod interpolation;
pub mod inversion;
pub mod ode;
pub mod pipeline;
pub mod prediction;
pub mod process;
pub mod processes;
pub mod sampler;
mod sampler_options;
pub mod samplers;
mod sampling;
pub mod schedule;
pub mod scheduler_config;
pub mod spacing;
pub mod variational;
pub mod weighting;

pub use checkpoint_metadata::{CheckpointMetadata, RunSeconds, Sampling};
pub use denoiser::{ClassifierGuide, Denoiser};
pub use generator::{Generator, Request};
pub use guidance::Labels;
pub use prediction::Prediction;
pub use process::{Process, TrainingTables};
pub use processes::{Discrete, ProcessConfig};
pub use sampler::{Sampler, SamplerOptions, SamplingPlan, Variance};
pub use samplers::SamplerName;
pub use sampling::{ResolvedSampling, SamplingOptions};
pub use schedule::{BetaRange, BetaSchedule, NoiseSchedule};
pub use scheduler_config::SchedulerConfig;
pub use spacing::Spacing;
pub use weighting::LossWeighting;

/// A setting from its bare name, all its numbers at their defaults: `"cosine"`, `"min_snr"`.
fn from_name<T: serde::de::DeserializeOwned>(what: &str, name: &str) -> crate::Result<T> {
    serde_json::from_value(serde_json::json!({ "name": name }))
        .map_err(|problem| crate::Error::Config(format!("{what} `{name}`: {problem}")))
}
