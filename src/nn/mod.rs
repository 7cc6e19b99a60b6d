//! Parameters, layers and models. This layer uses operators but not their kernels, and does not
//! know noise schedules or training.

mod classifier;
mod config;
mod config_rules;
mod embedding;
pub mod layers;
mod network;
mod parameters;
mod plain_unet;
pub mod registry;
mod residual_unet;
pub mod resnet;
pub mod self_attention;
pub mod state_dict;
mod unet2d;
mod unet_choices;
mod unet_config;
mod unet_levels;
mod vae;

pub use classifier::{Classifier, ClassifierConfig, Pooling};
pub use config::Config;
pub use config_rules::suggest_groups;
pub use embedding::sinusoid;
pub use network::{Conditions, Model, Network};
pub use parameters::{
    GRADIENTS, Initial, Initialization, PARAMETERS, Parameter, ParameterId, Parameters, Weights, statistics_of,
};
pub use plain_unet::{PlainUNet, PlainUNetConfig};
pub use residual_unet::{Downsample, ResidualUNet, ResidualUNetConfig};
pub use unet_choices::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding, TimeShift, UpBlock,
};
pub use unet_config::UNet2dConfig;
pub use unet2d::UNet2d;
pub use vae::{Likelihood, Vae, VaeConfig};
