//! Training objectives, one file each, and the choice between them from the config.

mod autoencode;
mod classify;
mod denoise;
mod noising;

use super::config::{Config, NetworkName};
use super::networks;
use super::objective::Objective;
use crate::checkpoint::SchedulerConfig;
use crate::data::Dataset;
use crate::diffusion::{
    DataMoments, DenoiserSpec, Discrete, Labels, NoiseSchedule, SamplerName, SamplerOptions, Sampling, SamplingOptions,
    Variance,
};
use crate::{Error, Result};
use noising::Noising;
use std::rc::Rc;

/// Creates the objective of a config for the images of a data set.
///
/// # Errors
/// Settings that do not fit each other or the data.
pub fn from_config(config: &Config, data: &Dataset) -> Result<Rc<dyn Objective>> {
    match config.network {
        NetworkName::Vae => {
            let model = networks::autoencoder(config, data)?;
            let Config { kl_weight, latent_components, validation_count, .. } = *config;
            // A mixture needs two latents.
            let fits = data.count >= 2 + validation_count as usize;
            let latent_components = if fits { latent_components } else { 0 };
            Ok(Rc::new(autoencode::Autoencode { model, kl_weight, latent_components }))
        }
        NetworkName::Classifier => classify(config, data),
        NetworkName::Unet | NetworkName::Plain | NetworkName::Residual => denoise(config, data),
    }
}

fn classify(config: &Config, data: &Dataset) -> Result<Rc<dyn Objective>> {
    if data.classes < 2 {
        return Err(Error::Config(format!(
            "{}: all images are of one class, and a classifier needs at least two",
            config.data.display()
        )));
    }
    let network = networks::classifier(config, data)?;
    let classes = data.classes as u32;
    if !config.noise_aware {
        return Ok(Rc::new(classify::Classify { network, noise: None, classes }));
    }
    let scheduler = scheduler(config, sampling_options(config).options);
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
        let (most, asked) = (noise.betas()[0].sqrt(), config.decoder_min_std);
        if f64::from(asked) >= most {
            return Err(Error::Config(format!(
                "--decoder-min-std {asked}: must be less than {most:.5}, the largest standard deviation of the first step"
            )));
        }
    }
    let network = networks::denoiser(config, data, labels.map(|labels| labels.classes + 1))?;
    let [_, height, width] = data.shape();
    network.check_size(height, width)?;
    let spec = DenoiserSpec {
        labels,
        learned_variance: config.learned_variance,
        decoder_min_std: if config.learned_variance { f64::from(config.decoder_min_std) } else { 0.0 },
        data: Some(DataMoments { size: data.pixels() as u32, mean: data.statistics.mean, std: data.statistics.std }),
    };
    // Sampling settings that do not fit are reported now, not hours later.
    let options = sampling_options(config);
    if options.options.variance_type == Some(Variance::LearnedRange) {
        let problem = "--variance learned_range needs --learned-variance, which preset hybrid has: use fixed_small";
        return Err(Error::Config(problem.into()));
    }
    let sampling = Sampling::resolve(SamplingOptions::default(), options, &spec).map_err(|e| within("guidance", e))?;
    let supported = sampling.sampler.build(&sampling.options)?.families().contains(&process.family());
    let option = if supported { "sampling-steps" } else { "sampler" };
    sampling.plan(&*process).map_err(|e| within(option, e))?;
    Ok(Rc::new(denoise::Denoise {
        weights: config.loss_weighting.weights(&*process)?,
        noising: Noising::new(&*process, &*network),
        network,
        scheduler: process.schedule().map(|_| scheduler(config, sampling.options)),
        process,
        process_config: config.process,
        spec,
        vlb_weight: config.vlb_weight,
        importance: config.importance_sampling,
        sampling,
    }))
}

/// The sampling settings of a config.
fn sampling_options(config: &Config) -> SamplingOptions {
    // The learned variance is the default if there is one.
    let fixed_variance = config.sampler == SamplerName::Ddpm && !config.learned_variance;
    let noise = config.sampler.options().contains(&"eta") && config.eta != 0.0;
    SamplingOptions {
        guidance: (!config.unconditional).then_some(config.guidance),
        guidance_rescale: Some(config.guidance_rescale),
        guidance_interval: None,
        sampler: Some(config.sampler),
        steps: Some(config.sampling_steps),
        options: SamplerOptions {
            variance_type: fixed_variance.then_some(config.variance),
            eta: noise.then_some(config.eta),
            ..SamplerOptions::default()
        },
        spacing: Some(config.spacing),
        ..SamplingOptions::default()
    }
}

/// Schedule, prediction target and sampler of a discrete process, as stored in checkpoints.
fn scheduler(config: &Config, options: SamplerOptions) -> SchedulerConfig {
    SchedulerConfig {
        schedule: config.beta_schedule(),
        timesteps: config.timesteps,
        zero_terminal_snr: config.zero_terminal_snr,
        prediction: config.prediction,
        spacing: config.spacing,
        sampler: config.sampler,
        options,
        ..SchedulerConfig::default()
    }
}
