//! Settings of a training run: every field can come from a preset, from a file, and from the command line, in that order.
//!
//! `Settings` is the partial form (what a preset, a file or a command line says), `Config` the complete one that a run keeps.

use super::presets;
use crate::diffusion::{LossWeighting, Prediction, SamplerName, Schedule, Spacing};
use crate::gpu::{Form, MAX_WORKGROUPS};
use crate::nn::Initialization;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Width of the model, and what fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Minutes on two cores.
    Tiny,
    /// Minutes on a GPU, hours on two cores.
    Small,
    /// For a GPU.
    Base,
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// To zero at the last step, along half a cosine.
    Cosine,
}

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
    /// Folder of the run
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
    decay: Decay,
    /// Adam's decay of the first moment
    beta1: f32,
    /// Adam's decay of the second moment
    beta2: f32,
    /// Added to the root of Adam's second moment
    epsilon: f32,
    /// Decoupled weight decay
    weight_decay: f32,
    /// Largest norm of the whole gradient
    clip: f32,
    /// Largest decay of the moving average of the parameters
    average_decay: f32,

    /// Noise schedule: linear, scaled_linear, cosine or sigmoid
    schedule: Schedule,
    /// Time steps T of the process
    timesteps: u32,
    /// Whether betas meant for 1000 time steps are rescaled by 1000 / T
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    rescale: bool,
    /// What the network predicts
    prediction: Prediction,
    /// Weight of the time steps in the loss: simple, snr, min_snr or p2
    loss_weighting: LossWeighting,
    /// Probability that a label is replaced by the null class
    label_dropout: f32,
    /// Trains without labels
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    unconditional: bool,

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
    /// What fresh parameters are
    initialization: Initialization,

    /// Images held back from training, for the validation loss
    holdout: u32,
    /// Steps between validations
    validate_every: u32,
    /// Steps between grids of samples
    sample_every: u32,
    /// Steps between checkpoints
    checkpoint_every: u32,
    /// Checkpoints kept
    keep: u32,
    /// Sampler of the grids
    sampler: SamplerName,
    /// Denoising steps of the grids
    sampling_steps: u32,
    /// Spacing of their time steps
    spacing: Spacing,
    /// Scale of classifier-free guidance in the grids; 1 is none
    #[arg(allow_negative_numbers = true)]
    guidance: f32,
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

    /// The complete settings: these, then the preset's for the size, which the class of the device chooses unless it is given.
    ///
    /// # Errors
    /// An unknown preset, or values that do not fit.
    pub fn resolve(self, form: Form) -> Result<Config> {
        let preset = self.preset.clone().unwrap_or_else(|| "ddpm".into());
        let size = self.size.unwrap_or(match form {
            Form::Broadcast => Size::Tiny,
            Form::Tiles => Size::Base,
        });
        let chosen = Settings { preset: Some(preset.clone()), size: Some(size), ..Settings::default() };
        let config = self.or(chosen).or(presets::settings(&preset, size)?).complete()?;
        config.check()?;
        Ok(config)
    }
}

impl Config {
    /// The schedule, rescaled or not.
    pub fn noise(&self) -> Schedule {
        let mut schedule = self.schedule.clone();
        if let Schedule::Linear(range) | Schedule::ScaledLinear(range) | Schedule::Sigmoid(range) = &mut schedule {
            range.rescale = self.rescale;
        }
        schedule
    }

    fn check(&self) -> Result<()> {
        let rule = |holds: bool, message: String| if holds { Ok(()) } else { Err(Error::Config(message)) };
        rule(self.steps > 0, "--steps must be at least 1".into())?;
        // Kernels count images along one dimension of their grid.
        rule((1..=MAX_WORKGROUPS).contains(&self.batch), format!("--batch {}: use 1 to {MAX_WORKGROUPS}", self.batch))?;
        rule(self.timesteps > 1, "--timesteps must be at least 2".into())?;
        rule(self.lr.is_finite() && self.lr > 0.0, format!("--lr {} must be positive", self.lr))?;
        rule(
            (0.0..=1.0).contains(&self.label_dropout),
            format!("--label-dropout {} is no probability", self.label_dropout),
        )?;
        rule(
            (0.0..1.0).contains(&self.average_decay),
            format!("--average-decay {} must be in [0, 1)", self.average_decay),
        )?;
        rule(
            (0.0..1.0).contains(&self.beta1) && (0.0..1.0).contains(&self.beta2),
            "--beta1 and --beta2 must be in [0, 1)".into(),
        )?;
        let clips = self.clip > 0.0 && self.clip.is_finite();
        rule(clips, format!("--clip {} must be a positive number; 1e30 clips nothing", self.clip))?;
        let adds = self.epsilon > 0.0 && self.epsilon.is_finite();
        rule(adds, format!("--epsilon {} must be a positive number, usually 1e-8", self.epsilon))?;
        let decays = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        rule(decays, format!("--weight-decay {} must be a number from 0 on", self.weight_decay))?;
        rule(self.keep > 0, "--keep must be at least 1".into())?;
        let each = [self.validate_every, self.sample_every, self.checkpoint_every];
        rule(
            each.iter().all(|&n| n > 0),
            "--validate-every, --sample-every and --checkpoint-every must be at least 1".into(),
        )?;
        rule(
            self.attention.len() == self.block_out_channels.len(),
            format!(
                "--attention has {} values for {} levels of --block-out-channels",
                self.attention.len(),
                self.block_out_channels.len()
            ),
        )?;
        let unguided = self.guidance == 1.0 || self.unconditional;
        rule(
            unguided || self.label_dropout > 0.0,
            "guidance needs a null class: train with --label-dropout above 0, or sample with --guidance 1".into(),
        )
    }
}
