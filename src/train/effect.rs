//! Options without an effect: a user who gives one expects something that will not happen.

use super::config::{Config, NetworkName, Settings};
use crate::diffusion::{BetaSchedule, ProcessConfig, SamplerName, Spacing};
use crate::{Error, Result};

impl Settings {
    /// Refuses the settings among these that have no effect on a run with this config. Call it with
    /// the options of a command line; a complete config has settings for every network.
    ///
    /// # Errors
    /// [`Error::Config`] with the option and what it needs.
    pub fn check_effect(&self, config: &Config) -> Result<()> {
        let given = toml::Table::try_from(self).map_err(|e| {
            Error::Config(format!("an option cannot be written as TOML ({e}); --seed is at most {}", i64::MAX))
        })?;
        // Switching off what is off already is allowed.
        let off = |value: &toml::Value| match value {
            toml::Value::Boolean(on) => !on,
            toml::Value::Float(number) => *number == 0.0,
            _ => false,
        };
        let given = given.iter().filter(|(_, value)| !off(value));
        let spaced = config.sampler.ignores_spacing().is_none();
        if self.spacing == Some(Spacing::Leading) && config.zero_terminal_snr && spaced {
            return Err(Error::Config(
                "--spacing leading with --zero-terminal-snr: sampling would never visit the last timestep, which alone is \
                 pure noise. Use --spacing trailing"
                    .into(),
            ));
        }
        match given.map(|(key, _)| key).find_map(|key| Some((key, needs(key, config)?))) {
            Some((key, needs)) => Err(Error::Config(format!(
                "--{} has no effect here: {needs}. Leave the option out",
                key.replace('_', "-")
            ))),
            None => Ok(()),
        }
    }
}

const DENOISERS: &str = "it is for denoisers";

/// What a setting needs to have an effect, if the config does not have it.
fn needs(key: &str, config: &Config) -> Option<String> {
    use NetworkName::{Classifier, Plain, Residual, Unet, Vae};
    let network = config.network;
    let denoises = matches!(network, Unet | Plain | Residual);
    let discrete = denoises && config.process == ProcessConfig::Discrete;
    let noised = discrete || network == Classifier && config.noise_aware;
    // What a setting of the discrete process needs, and a setting of the noise schedule.
    let process = if denoises { "it is for --process discrete" } else { DENOISERS };
    let noising = if network == Classifier { "it needs --noise-aware true" } else { process };
    let ranged = !matches!(config.schedule, BetaSchedule::Cosine | BetaSchedule::LogSnr(_));
    let for_networks = |networks: &[NetworkName]| {
        let names: Vec<String> = networks.iter().map(|network| format!("{network:?}").to_lowercase()).collect();
        let own = format!("{network:?}").to_lowercase();
        (!networks.contains(&network)).then(|| format!("it is for --network {}, not {own}", names.join(", ")))
    };
    let unless = |condition: bool, needs: &str| (!condition).then(|| needs.to_string());
    match key {
        "attention_head_dim" if matches!(network, Unet | Residual) => {
            unless(config.attention.contains(&true), "it needs a level with --attention true")
        }
        "attention" | "attention_head_dim" | "layers_per_block" => for_networks(&[Unet, Residual]),
        "norm_num_groups" => for_networks(&[Unet, Residual, Vae]),
        "scale_shift" | "unet_config" => for_networks(&[Unet]),
        "dropout" => for_networks(&[Unet, Residual, Classifier]),
        "downsample" => for_networks(&[Residual]),
        "condition_channels" => for_networks(&[Plain]),
        "hidden_channels" => for_networks(&[Plain, Vae]),
        "noise_aware" => for_networks(&[Classifier]),
        "latent_channels" | "likelihood" | "kl_weight" | "latent_components" => for_networks(&[Vae]),
        "sampling_steps" if denoises && config.sampler == SamplerName::Ode => {
            Some("--sampler ode chooses its steps itself".into())
        }
        "process" | "loss_weighting" | "unconditional" | "sampler" | "sampling_steps" => unless(denoises, DENOISERS),
        "guidance_rescale" if denoises && !config.unconditional => {
            unless(![0.0, 1.0].contains(&config.guidance), "it needs a --guidance other than 0 and 1")
        }
        "guidance" | "guidance_rescale" | "label_dropout" => {
            unless(denoises && !config.unconditional, "it is for denoisers with classes")
        }
        "schedule" | "zero_terminal_snr" => unless(noised, noising),
        "timesteps" => unless(noised || network == Plain, noising),
        "rescale_betas" if noised => unless(ranged, "it is for --schedule linear, scaled_linear or sigmoid"),
        "rescale_betas" => Some(noising.into()),
        // A noise schedule with zero terminal SNR is refused with the prediction epsilon.
        "prediction" if noised && config.zero_terminal_snr => None,
        "spacing" if discrete => config.sampler.ignores_spacing(),
        "prediction" | "spacing" | "learned_variance" | "importance_sampling" => unless(discrete, process),
        "vlb_weight" | "decoder_min_std" => unless(config.learned_variance, "it needs --learned-variance"),
        "variance" => unless(
            denoises && config.sampler == SamplerName::Ddpm && !config.learned_variance,
            "it is for --sampler ddpm without a learned variance",
        ),
        "eta" => {
            unless(denoises && config.sampler.options().contains(&"eta"), "it is for --sampler ddim or dpm_solver")
        }
        "validate_every" => unless(config.validation_count > 0, "it needs --validation-count above 0"),
        "sample_every" | "evaluate_every" => unless(network != Classifier, "a classifier does not generate images"),
        "evaluate_count" | "feature_extractor" => {
            unless(config.evaluate_every > 0 && network != Classifier, "it needs --evaluate-every above 0")
        }
        _ => None,
    }
}
