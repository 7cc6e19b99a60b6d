//! Training objectives, one file each, and the choice between them from the config.

mod autoencode;
mod classify;
mod denoise;
mod noising;

use super::config::{Config, NetworkName};
use super::networks;
use super::objective::Objective;
use crate::data::Dataset;
use crate::diffusion::{
    Discrete, Labels, NoiseSchedule, SamplerName, SamplerOptions, Sampling, SchedulerConfig, Variance,
};
use crate::{Error, Result};
use noising::Noising;
use std::rc::Rc;

/// The objective of a config, for the images of a data set.
///
/// # Errors
/// Settings that do not fit each other or the data.
pub fn from_config(config: &Config, data: &Dataset) -> Result<Rc<dyn Objective>> {
    match config.network {
        NetworkName::Vae => {
            let model = networks::autoencoder(config, data)?;
            Ok(Rc::new(autoencode::Autoencode { model, kl_weight: config.kl_weight }))
        }
        NetworkName::Classifier => classify(config, data),
        NetworkName::Unet | NetworkName::Plain | NetworkName::Residual => denoise(config, data),
    }
}

fn classify(config: &Config, data: &Dataset) -> Result<Rc<dyn Objective>> {
    let network = networks::classifier(config, data)?;
    let classes = data.classes as u32;
    if !config.noise_aware {
        return Ok(Rc::new(classify::Classify { network, noise: None, classes }));
    }
    let scheduler = scheduler(config);
    let process = Box::new(scheduler.process()?);
    let noising = Noising::new(&*process, &network);
    let noise = Some(classify::Noise { process, scheduler, noising });
    Ok(Rc::new(classify::Classify { network, noise, classes }))
}

fn denoise(config: &Config, data: &Dataset) -> Result<Rc<dyn Objective>> {
    let labels =
        (!config.unconditional).then_some(Labels { classes: data.classes as u32, dropout: config.label_dropout });
    let within = |option: &str, problem: Error| Error::Config(format!("--{option}: {problem}"));
    let schedule = || NoiseSchedule::new(&config.beta_schedule(), config.timesteps, config.zero_terminal_snr);
    let process = config.process.build(|| Discrete::new(schedule()?, config.prediction))?;
    if let Some(noise) = process.schedule() {
        let (most, asked) = (noise.betas()[0].sqrt(), f64::from(config.decoder_min_std));
        if asked >= most {
            return Err(Error::Config(format!(
                "--decoder-min-std {asked}: must be less than {most:.5}, the largest standard deviation of the first step"
            )));
        }
    }
    let network = networks::denoiser(config, data, labels.map(|labels| labels.classes + 1))?;
    let [_, height, width] = data.shape();
    network.check_size(height, width)?;
    let scheduler = scheduler(config);
    // Sampling settings that do not fit are reported now, not hours later.
    scheduler.plan_for(&*process, config.sampling_steps).map_err(|e| within("sampling-steps", e))?;
    let guidance = if labels.is_some() { config.guidance } else { 1.0 };
    labels.map_or(Ok(false), |labels| labels.guided(guidance)).map_err(|e| within("guidance", e))?;
    let sampling =
        Sampling { sampler: scheduler.sampler, options: scheduler.options, steps: config.sampling_steps, guidance };
    Ok(Rc::new(denoise::Denoise {
        weights: config.loss_weighting.weights(&*process)?,
        noising: Noising::new(&*process, &*network),
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

/// Schedule, prediction and sampler, as checkpoints and grids use them.
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
        schedule: config.beta_schedule(),
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
