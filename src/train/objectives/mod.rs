//! The objectives, a file each, and what of the settings leads to which.

mod classify;
mod denoise;
mod reconstruct;

use super::choices::NetworkName;
use super::networks;
use super::objective::Objective;
use super::settings::Config;
use crate::data::Dataset;
use crate::diffusion::{
    Discrete, Labels, NoiseSchedule, Process, SamplerName, SamplerOptions, Sampling, SchedulerConfig, TrainingTables,
    Variance,
};
use crate::{Error, Result};

/// What the settings train for on a data set.
///
/// # Errors
/// Settings that do not fit each other or the data.
pub fn objective(config: &Config, data: &Dataset) -> Result<Box<dyn Objective>> {
    match config.network {
        NetworkName::Vae => {
            let model = networks::autoencoder(config, data)?;
            Ok(Box::new(reconstruct::Reconstruct { model, kl_weight: config.kl_weight }))
        }
        NetworkName::Classifier => {
            let network = networks::classifier(config, data)?;
            let scheduler = scheduler(config);
            let process: Option<(Box<dyn Process>, _)> = match config.noise_aware {
                true => Some((Box::new(scheduler.process()?), scheduler)),
                false => None,
            };
            Ok(Box::new(classify::Classify { network, process, classes: data.classes as u32 }))
        }
        _ => denoise(config, data),
    }
}

fn denoise(config: &Config, data: &Dataset) -> Result<Box<dyn Objective>> {
    let labels =
        (!config.unconditional).then_some(Labels { classes: data.classes as u32, dropout: config.label_dropout });
    let within = |option: &str, problem: Error| Error::Config(format!("--{option}: {problem}"));
    let schedule = || NoiseSchedule::new(&config.noise(), config.timesteps, config.zero_terminal_snr);
    let process = config.process.build(|| Discrete::new(schedule()?, config.prediction))?;
    if let Some(noise) = process.schedule() {
        let (most, asked) = (noise.betas()[0].sqrt(), f64::from(config.decoder_min_std));
        if asked >= most {
            return Err(Error::Config(format!(
                "--decoder-min-std {asked}: the largest deviation of the first step is {most:.5}, so this must be smaller"
            )));
        }
    }
    let network = networks::denoiser(config, data, labels.map(|labels| labels.classes + 1))?;
    let [_, height, width] = data.shape();
    network.check_size(height, width)?;
    let scheduler = scheduler(config);
    // What the pictures will need, before hours of training lead there.
    scheduler.plan_for(&*process, config.sampling_steps).map_err(|e| within("sampling-steps", e))?;
    let guidance = if labels.is_some() { config.guidance } else { 1.0 };
    labels.map_or(Ok(false), |labels| labels.guided(guidance)).map_err(|e| within("guidance", e))?;
    let sampling =
        Sampling { sampler: scheduler.sampler, options: scheduler.options, steps: config.sampling_steps, guidance };
    Ok(Box::new(denoise::Denoise {
        weights: config.loss_weighting.weights(&*process)?,
        tables: TrainingTables::new(&*process),
        network,
        process,
        process_name: config.process,
        scheduler,
        labels,
        vlb_weight: config.learned_variance.then_some(config.vlb_weight),
        decoder_min_std: f64::from(config.decoder_min_std),
        importance: config.importance_sampling,
        sampling,
    }))
}

/// Schedule, prediction and sampler as a checkpoint and the pictures use them.
fn scheduler(config: &Config) -> SchedulerConfig {
    let options = match config.sampler {
        SamplerName::Ddim => SamplerOptions { use_clipped_model_output: Some(true), ..SamplerOptions::default() },
        SamplerName::Ddpm => {
            let variance = if config.learned_variance { Variance::LearnedRange } else { config.variance };
            SamplerOptions { variance_type: Some(variance), ..SamplerOptions::default() }
        }
        _ => SamplerOptions::default(),
    };
    SchedulerConfig {
        schedule: config.noise(),
        steps: config.timesteps,
        zero_terminal_snr: config.zero_terminal_snr,
        prediction: config.prediction,
        clip: Some(1.0),
        spacing: config.spacing,
        steps_offset: 0,
        sampler: config.sampler,
        options,
    }
}
