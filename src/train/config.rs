//! Settings of a training run. Each comes from the command line, a file or a preset, in this order.
//! [`Settings`] may be incomplete; [`Config`] has a value for every setting.

use super::settings_file::read_toml;
use crate::data::{ChannelChoice, Resize, Resolution};
use crate::diffusion::autoencoder::MOST_COMPONENTS;
use crate::diffusion::{BetaSchedule, LossWeighting, Prediction, ProcessConfig, SamplerName, Spacing, Variance};
use crate::gpu::MAX_WORKGROUPS;
use crate::nn::{DownsampleType, Initialization, Likelihood};
use crate::output::counted;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Trains in minutes on two CPU cores.
    Tiny,
    /// Trains in minutes on a GPU.
    Small,
    /// For a GPU.
    Base,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Size::Tiny => "tiny",
            Size::Small => "small",
            Size::Base => "base",
        })
    }
}

/// Learning rate schedule after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Constant.
    Constant,
    /// Half a cosine, to zero at the last step.
    Cosine,
}

/// Network architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    /// The U-Net of DDPM, as in diffusers.
    Unet,
    /// A convolutional U-Net with batch normalization that takes time and label at its lowest
    /// level.
    Plain,
    /// A residual U-Net with batch normalization, dropout and attention.
    Residual,
    /// A classifier, for guidance or for features.
    Classifier,
    /// A variational autoencoder.
    Vae,
}

/// Whether images are flipped horizontally at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum RandomFlip {
    /// If the data set allows it: yes for CIFAR-10 and ImageNet, no for other data.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where the images are stored during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On the device if they fit, otherwise streamed.
    Auto,
    /// On the device.
    Device,
    /// In main memory. A thread streams them to the device in chunks.
    Stream,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[arg($($arg:tt)*)])? $name:ident: $type:ty,)*) => {
        /// Some of the settings of a run, from a preset, a file or a command line.
        ///
        /// ```
        /// use degrain::train::{Settings, Size};
        ///
        /// let given = Settings { steps: Some(100), ..Settings::default() };
        /// let others = Settings { steps: Some(5), size: Some(Size::Tiny), ..Settings::default() };
        /// let both = given.or(others);
        /// assert_eq!((both.steps, both.size, both.batch), (Some(100), Some(Size::Tiny), None));
        /// ```
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "cli", derive(clap::Args))]
        #[serde(deny_unknown_fields)]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[cfg_attr(feature = "cli", arg(long, $($($arg)*)?))]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }

        /// All settings of a run, as stored in `config.toml` of its folder.
        ///
        /// ```
        /// use degrain::train::{Settings, Size};
        ///
        /// let settings = Settings { preset: Some("edm".into()), ..Settings::default() };
        /// let config = settings.resolve(Size::Base)?;
        /// assert_eq!((config.steps, config.sampling_steps), (30000, 18));
        /// assert_eq!(config.out.to_str(), Some("runs/edm-base"));
        /// # Ok::<(), degrain::Error>(())
        /// ```
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)*
        }

        impl Settings {
            /// These settings, completed by `others`. If these settings have a sampler and `others`
            /// have another one, `eta` of `others` is ignored, and 0 is the default.
            pub fn or(self, others: Settings) -> Settings {
                let other_sampler = self.sampler.zip(others.sampler).is_some_and(|(own, other)| own != other);
                let eta = self.eta.or(other_sampler.then_some(0.0));
                let all = Settings { $($name: self.$name.or(others.$name),)* };
                Settings { eta: eta.or(all.eta), ..all }
            }

            pub(super) fn complete(self) -> Result<Config> {
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
    /// Preset, a model with its process and settings: ddpm, plain, plain-published,
    /// plain-conditional, plain-conditional-published, residual-attention,
    /// residual-attention-published, score, score-published, guided, hybrid, vdm, edm, flow, vae or classifier
    /// [default: ddpm]
    preset: String,
    /// Size of the model [default: the largest that this device should train in an hour]
    size: Size,
    /// Folder of the data set: IDX files (MNIST), CIFAR-10, downsampled ImageNet, or image files
    /// [default: data/mnist]
    data: PathBuf,
    /// Resolution of image files: a side such as 64, height and width such as 48x64, or auto (the
    /// common size of all images up to 128 pixels, otherwise 64)
    resolution: Resolution,
    /// How image files of another size are brought to the resolution
    resize: Resize,
    /// Channels of image files: auto is gray if all files are
    channels: ChannelChoice,
    /// Leave damaged image files out
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    skip_damaged: bool,
    /// Folder of the run [default: runs/PRESET-SIZE]
    out: PathBuf,
    /// Random seed for parameters, noise, timesteps and the order of images
    seed: u64,

    /// Training steps, counted from the start of the run
    steps: u32,
    /// Images per training step
    batch: u32,
    /// Learning rate after the warm-up
    #[arg(allow_negative_numbers = true)]
    lr: f64,
    /// Steps of linear learning rate warm-up
    warmup: u32,
    /// Learning rate schedule after the warm-up
    lr_schedule: LrSchedule,
    /// Adam's decay rate of the first moment
    beta1: f32,
    /// Adam's decay rate of the second moment
    beta2: f32,
    /// Adam's epsilon, added to the root of the second moment
    adam_epsilon: f32,
    /// Decoupled weight decay (AdamW)
    weight_decay: f32,
    /// Largest norm of the gradient; a larger gradient is scaled down to it
    max_grad_norm: f32,
    /// Largest decay of the exponential moving average (EMA) of the parameters
    ema_decay: f32,

    /// Diffusion process: discrete, vp, sub_vp, ve, edm or flow
    process: ProcessConfig,
    /// Noise schedule of a discrete process: linear, scaled_linear, cosine, sigmoid or log_snr
    schedule: BetaSchedule,
    /// Number of timesteps T of a discrete process
    timesteps: u32,
    /// Rescale the betas of a schedule for 1000 timesteps by 1000 / T
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    rescale_betas: bool,
    /// Change the schedule to end in pure noise (Lin et al. 2023); needs v_prediction or sample
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    zero_terminal_snr: bool,
    /// Prediction target of the network in a discrete process. The processes vp, sub_vp and ve have
    /// it in their own settings
    prediction: Prediction,
    /// Learn the variance of DDPM's steps (Nichol and Dhariwal 2021)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    learned_variance: bool,
    /// Weight of the variational bound in the loss, with a learned variance
    #[arg(allow_negative_numbers = true)]
    vlb_weight: f32,
    /// Smallest standard deviation of the pixel decoder, with a learned variance; 0 for the
    /// published bound
    #[arg(allow_negative_numbers = true)]
    decoder_min_std: f32,
    /// Sample timesteps by their losses (Nichol and Dhariwal 2021)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    importance_sampling: bool,
    /// Weight of the loss over time: simple, snr, min_snr, min_snr_plus_one or p2; likelihood for vp, sub_vp and ve
    loss_weighting: LossWeighting,
    /// Probability that a label is replaced by the null class, for classifier-free guidance
    label_dropout: f32,
    /// Train without labels
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    unconditional: bool,

    /// Network architecture
    network: NetworkName,
    /// Channels of each level, comma-separated
    #[arg(value_delimiter = ',')]
    block_out_channels: Vec<u32>,
    /// Residual blocks per level
    layers_per_block: u32,
    /// Whether each level has self-attention, comma-separated: true or false
    #[arg(value_delimiter = ',')]
    attention: Vec<bool>,
    /// Channels per attention head
    attention_head_dim: u32,
    /// Groups of group normalization
    norm_num_groups: u32,
    /// Let the time embedding scale and shift the features instead of adding to them
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    scale_shift: bool,
    /// Other keys of the U-Net's config in diffusers, as a JSON object, such as {"freq_shift": 1}
    #[arg(value_name = "JSON")]
    unet_config: String,
    /// Dropout probability in residual blocks
    #[arg(allow_negative_numbers = true)]
    dropout: f32,
    /// Downsampling method of the residual network
    downsample: DownsampleType,
    /// Channels of the time embedding and of the label embedding at the lowest level of the plain
    /// network
    condition_channels: u32,
    /// Hidden width of the plain network's time and label embeddings, or of the autoencoder next to
    /// its latent (0: no hidden layer)
    hidden_channels: u32,
    /// Train the classifier on noised images and their times (true) or on clean images (false)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    noise_aware: bool,
    /// Dimensions of the autoencoder's latent
    latent_channels: u32,
    /// Likelihood of the autoencoder's pixels
    likelihood: Likelihood,
    /// Weight of the autoencoder's divergence from the prior; 1 gives the evidence lower bound
    #[arg(allow_negative_numbers = true)]
    kl_weight: f32,
    /// Gaussians of the mixture that an autoencoder's samples draw their latents from: it is fitted
    /// to the latents of training images when training ends (Ghosh et al. 2020); 0 for N(0, 1)
    latent_components: u32,
    /// Initialization of the parameters
    initialization: Initialization,

    /// Flip images horizontally at random
    random_flip: RandomFlip,
    /// Storage of the images during training
    storage: Storage,
    /// Number of images held out of training, for the validation loss [default: 5 % of the images, at
    /// most the preset's number]
    validation_count: u32,
    /// Steps between validations
    validate_every: u32,
    /// Steps between grids of samples
    sample_every: u32,
    /// Steps between checkpoints
    checkpoint_every: u32,
    /// Steps between evaluations (bits per dimension and Frechet distance); 0 for none
    evaluate_every: u32,
    /// Number of samples per evaluation
    evaluate_count: u32,
    /// Feature extractor of the Frechet distance: a checkpoint of the preset classifier, trained
    /// with --noise-aware false
    feature_extractor: PathBuf,
    /// Number of checkpoints to keep
    keep_checkpoints: u32,
    /// Sampler of the grids, and default sampler of `sample`
    sampler: SamplerName,
    /// Sampling steps of the grids
    sampling_steps: u32,
    /// Spacing of the sampler's timesteps
    spacing: Spacing,
    /// Variance of the noise that DDPM adds in each sampling step, without a learned variance
    variance: Variance,
    /// Noise that DDIM and DPM-Solver++ add in each sampling step, from 0 (none) to 1 (as much as DDPM)
    #[arg(allow_negative_numbers = true)]
    eta: f64,
    /// Scale of classifier-free guidance in the grids; 1 is none
    #[arg(allow_negative_numbers = true)]
    guidance: f32,
    /// Guidance rescale, phi of Lin et al. 2023: 0 to 1
    #[arg(allow_negative_numbers = true)]
    guidance_rescale: f32,
}

pub(super) fn missing(name: &str) -> Error {
    Error::Config(format!("no preset, file or option sets `{name}`: give --{}", name.replace('_', "-")))
}

impl Settings {
    /// Reads a TOML file of settings.
    ///
    /// # Errors
    /// A file that cannot be read, or that sets something unknown.
    pub fn read(path: &Path) -> Result<Settings> {
        read_toml(path)
    }

    /// These settings, completed by the settings of an existing run, for `--resume`. The folder is
    /// `run` if these settings name none, even if the run was moved after it started.
    ///
    /// # Errors
    /// A folder that is not a run.
    pub fn or_those_of_run(self, run: &Path) -> Result<Settings> {
        let here = Settings { out: Some(run.into()), ..Settings::default() };
        Ok(self.or(here).or(of_run(run)?))
    }
}

/// The settings in the folder of a run. A setting that did not exist when the run was made is
/// missing, except `eta`.
pub(super) fn of_run(run: &Path) -> Result<Settings> {
    let path = run.join("config.toml");
    if !path.is_file() {
        let problem = if run.exists() {
            "not a run folder, which has config.toml and checkpoint-STEP folders"
        } else {
            "there is no such folder: name the folder of a run, such as runs/ddpm-tiny"
        };
        return Err(Error::file(run, problem));
    }
    Ok(Settings::read(&path)?.of_earlier_version())
}

impl Settings {
    /// The settings of a run, perhaps of an earlier version. Its samples had no noise if it has no
    /// `eta`, whatever its preset has today.
    pub(super) fn of_earlier_version(self) -> Settings {
        Settings { eta: self.eta.or(Some(0.0)), ..self }
    }
}

impl Config {
    /// The noise schedule, rescaled or not.
    pub fn beta_schedule(&self) -> BetaSchedule {
        let mut schedule = self.schedule.clone();
        if let BetaSchedule::Linear(range) | BetaSchedule::ScaledLinear(range) | BetaSchedule::Sigmoid(range) =
            &mut schedule
        {
            range.rescale = self.rescale_betas;
        }
        schedule
    }

    /// The settings as TOML, as in `config.toml` of a run's folder.
    ///
    /// # Errors
    /// [`Error::Config`] for a value that TOML cannot hold, such as a seed above 2^63 - 1.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Config(format!("the settings cannot be written as TOML: {e}")))
    }

    /// Checks that the settings fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that do not fit. The message says which values would.
    pub(super) fn check(&self) -> Result<()> {
        let rule = |holds: bool, message: String| if holds { Ok(()) } else { Err(Error::Config(message)) };
        rule(self.steps > 0, "--steps must be at least 1".into())?;
        // Kernels count images along one dimension of their grid.
        rule((1..=MAX_WORKGROUPS).contains(&self.batch), format!("--batch {}: use 1 to {MAX_WORKGROUPS}", self.batch))?;
        rule(self.timesteps > 1, "--timesteps must be at least 2".into())?;
        rule(self.lr.is_finite() && self.lr > 0.0, format!("--lr {} must be positive", self.lr))?;
        rule(
            (0.0..=1.0).contains(&self.label_dropout),
            format!("--label-dropout {} is not a probability", self.label_dropout),
        )?;
        rule((0.0..1.0).contains(&self.ema_decay), format!("--ema-decay {} must be in [0, 1)", self.ema_decay))?;
        rule(
            (0.0..1.0).contains(&self.beta1) && (0.0..1.0).contains(&self.beta2),
            "--beta1 and --beta2 must be in [0, 1)".into(),
        )?;
        let clips = self.max_grad_norm > 0.0 && self.max_grad_norm.is_finite();
        rule(clips, format!("--max-grad-norm {} must be a positive number; 1e30 clips nothing", self.max_grad_norm))?;
        let adds = self.adam_epsilon > 0.0 && self.adam_epsilon.is_finite();
        rule(adds, format!("--adam-epsilon {} must be a positive number, usually 1e-8", self.adam_epsilon))?;
        let decays = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        rule(decays, format!("--weight-decay {} must be non-negative", self.weight_decay))?;
        rule(self.keep_checkpoints > 0, "--keep-checkpoints must be at least 1".into())?;
        let every = [self.validate_every, self.sample_every, self.checkpoint_every];
        rule(
            every.iter().all(|&n| n > 0),
            "--validate-every, --sample-every and --checkpoint-every must be at least 1".into(),
        )?;
        rule(
            !matches!(self.network, NetworkName::Unet | NetworkName::Residual)
                || self.attention.len() == self.block_out_channels.len(),
            format!(
                "--attention has {} for {} of --block-out-channels",
                counted(self.attention.len(), "value"),
                counted(self.block_out_channels.len(), "level")
            ),
        )?;
        for (option, value) in [("dropout", self.dropout), ("guidance-rescale", self.guidance_rescale)] {
            rule((0.0..=1.0).contains(&value), format!("--{option} {value} must be between 0 and 1"))?;
        }
        for (option, value) in [("vlb-weight", self.vlb_weight), ("kl-weight", self.kl_weight)] {
            rule(value >= 0.0 && value.is_finite(), format!("--{option} {value} must be non-negative"))?;
        }
        rule(
            self.latent_components <= MOST_COMPONENTS,
            format!("--latent-components {}: use 0 to {MOST_COMPONENTS}", self.latent_components),
        )?;
        let discrete = self.process == ProcessConfig::Discrete;
        rule(
            discrete || !(self.learned_variance || self.importance_sampling),
            format!("--learned-variance and --importance-sampling need --process discrete, not {}", self.process),
        )?;
        rule(self.decoder_min_std >= 0.0, format!("--decoder-min-std {} must be non-negative", self.decoder_min_std))?;
        let unguided = self.guidance == 1.0 || self.unconditional || self.network == NetworkName::Classifier;
        rule(
            unguided || self.label_dropout > 0.0,
            format!(
                "--guidance {} needs --label-dropout above 0; without label dropout use --guidance 1",
                self.guidance
            ),
        )
    }
}
