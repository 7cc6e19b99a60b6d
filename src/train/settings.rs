//! Settings of a training run: every field can come from a preset, from a file, and from the command line, in that order.
//!
//! `Settings` is the partial form (what a preset, a file or a command line says), `Config` the complete one that a run keeps.

use super::choices::{LrSchedule, NetworkName, RandomFlip, Size, Storage};
use super::presets;
use crate::diffusion::{BetaSchedule, LossWeighting, Prediction, ProcessConfig, SamplerName, Spacing, Variance};
use crate::gpu::KernelVariant;
use crate::nn::{Downsample, Initialization, Likelihood};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[arg($($arg:tt)*)])? $name:ident: $type:ty,)*) => {
        /// What a preset, a file or a command line says of a run: any part of [`Config`].
        #[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])+ #[arg(long, $($($arg)*)?)] #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        /// All settings of a run, as its folder keeps them in `config.toml`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Settings {
            /// These settings, and the given ones where these say nothing.
            pub fn or(self, others: Settings) -> Settings {
                Settings { $($name: self.$name.or(others.$name),)* }
            }

            fn complete(self) -> Result<Config> {
                Ok(Config { $($name: self.$name.ok_or_else(|| missing(stringify!($name)))?,)* })
            }
        }

        impl From<Config> for Settings {
            fn from(config: Config) -> Settings {
                Settings { $($name: Some(config.$name),)* }
            }
        }
    };
}

settings! {
    /// The model and its process, by name
    preset: String,
    /// Width of the model; by the adapter's class unless given
    size: Size,
    /// Folder of the data set: IDX, CIFAR-10, downsampled ImageNet, or PNG files
    data: PathBuf,
    /// Folder of the run; runs/PRESET-SIZE unless given
    out: PathBuf,
    /// Seed of parameters, noise, time steps and order of images
    seed: u64,

    /// Training steps
    steps: u32,
    /// Images in a step
    batch: u32,
    /// Learning rate after the warm-up
    #[arg(allow_negative_numbers = true)]
    lr: f64,
    /// Steps over which the learning rate rises
    warmup: u32,
    /// How the learning rate falls after the warm-up
    lr_schedule: LrSchedule,
    /// Adam's decay of the first moment
    beta1: f32,
    /// Adam's decay of the second moment
    beta2: f32,
    /// Added to the root of Adam's second moment
    adam_epsilon: f32,
    /// Decoupled weight decay
    weight_decay: f32,
    /// Largest norm of the whole gradient
    max_grad_norm: f32,
    /// Largest decay of the moving average of the parameters
    ema_decay: f32,

    /// Process: discrete, vp, sub_vp, ve, edm or flow
    process: ProcessConfig,
    /// Noise schedule of a discrete process: linear, scaled_linear, cosine or sigmoid
    schedule: BetaSchedule,
    /// Time steps T of the process
    timesteps: u32,
    /// Whether betas meant for 1000 time steps are rescaled by 1000 / T
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    rescale_betas: bool,
    /// Whether the schedule is changed to end in pure noise; only with v_prediction or sample
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    zero_terminal_snr: bool,
    /// What the network predicts in a discrete process
    prediction: Prediction,
    /// Whether the network learns the variance of DDPM's steps too, by the variational bound
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    learned_variance: bool,
    /// Weight of the variational bound beside the squared error, with a learned variance
    #[arg(allow_negative_numbers = true)]
    vlb_weight: f32,
    /// Smallest standard deviation of the decoder of pixels, with a learned variance; 0 for that of the other time steps
    #[arg(allow_negative_numbers = true)]
    decoder_min_std: f32,
    /// Whether time steps are drawn by their losses instead of equally often
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    importance_sampling: bool,
    /// Weight of the times in the loss: simple, snr, min_snr or p2; likelihood for stochastic differential equations
    loss_weighting: LossWeighting,
    /// Probability that a label is replaced by the null class
    label_dropout: f32,
    /// Trains without labels
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    unconditional: bool,

    /// Network: unet, plain, residual, classifier or vae
    network: NetworkName,
    /// Channels of each level, comma-separated
    #[arg(value_delimiter = ',')]
    block_out_channels: Vec<u32>,
    /// Residual blocks of a level
    layers_per_block: u32,
    /// Whether each level has attention, comma-separated
    #[arg(value_delimiter = ',')]
    attention: Vec<bool>,
    /// Channels of an attention head
    attention_head_dim: u32,
    /// Groups of the group normalisations
    norm_num_groups: u32,
    /// Whether the time embedding scales and shifts instead of being added
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    scale_shift: bool,
    /// Probability that a number is dropped in residual blocks
    #[arg(allow_negative_numbers = true)]
    dropout: f32,
    /// How the residual network halves its maps: conv or average
    downsample: Downsample,
    /// Channels that time and label each add at the bottom of the plain network
    condition_channels: u32,
    /// Width of the hidden layer of the plain network's time and label networks
    hidden_channels: u32,
    /// Whether the classifier sees noised images and their time
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    noise_aware: bool,
    /// Numbers of the autoencoder's latent
    latent_channels: u32,
    /// Likelihood of the autoencoder's pixels: bernoulli or discretized_logistic
    likelihood: Likelihood,
    /// Weight of the autoencoder's divergence from the prior; 1 is the evidence lower bound
    #[arg(allow_negative_numbers = true)]
    kl_weight: f32,
    /// What fresh parameters are
    initialization: Initialization,

    /// Mirrors images at random: as the data set allows, always, or never
    random_flip: RandomFlip,
    /// Where the images lie: on the device if they fit, or streamed to it
    storage: Storage,
    /// Images held back from training, for the validation loss
    validation_count: u32,
    /// Steps between validations
    validate_every: u32,
    /// Steps between grids of samples
    sample_every: u32,
    /// Steps between checkpoints
    checkpoint_every: u32,
    /// Steps between evaluations (bound and Frechet distance of the averaged weights); 0 for none
    evaluate_every: u32,
    /// Images that an evaluation draws
    evaluate_count: u32,
    /// The classifier whose features evaluations compare: a checkpoint of the preset classifier with --noise-aware false
    feature_extractor: PathBuf,
    /// Checkpoints kept
    keep_checkpoints: u32,
    /// Sampler of the grids
    sampler: SamplerName,
    /// Sampling steps of the grids
    sampling_steps: u32,
    /// Spacing of their time steps
    spacing: Spacing,
    /// Variance of the noise that DDPM adds in the grids
    variance: Variance,
    /// Scale of classifier-free guidance in the grids; 1 is none
    #[arg(allow_negative_numbers = true)]
    guidance: f32,
    /// How far guided answers are brought back to the deviation of unguided ones: 0 to 1
    #[arg(allow_negative_numbers = true)]
    guidance_rescale: f32,
}

fn missing(name: &str) -> Error {
    Error::Config(format!("`{name}` is set by no preset, file or option: give --{}", name.replace('_', "-")))
}

impl Settings {
    /// Reads a TOML file of settings.
    ///
    /// # Errors
    /// A file that cannot be read, or that sets what is not there.
    pub fn read(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|e| Error::file(path, e.to_string()))
    }

    /// Completes the settings with the preset's. The default size follows the device's kernel variant.
    ///
    /// # Errors
    /// An unknown preset, or values that do not fit.
    pub fn resolve(self, variant: KernelVariant) -> Result<Config> {
        let preset = self.preset.clone().unwrap_or_else(|| "ddpm".into());
        let size = self.size.unwrap_or(match variant {
            KernelVariant::Subgroup => Size::Tiny,
            KernelVariant::Tiled => Size::Base,
        });
        let out = PathBuf::from(format!("runs/{preset}-{size}"));
        let chosen = Settings { preset: Some(preset.clone()), size: Some(size), out: Some(out), ..Settings::default() };
        let config = self.or(chosen).or(presets::settings(&preset, size)?).complete()?;
        config.check()?;
        Ok(config)
    }
}
