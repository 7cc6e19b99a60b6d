//! Parameters, layers and models. It knows operators, not their kernels, and nothing of noise schedules or training.

mod config_rules;
pub mod layers;
mod network;
mod parameters;
pub mod resnet;
pub mod self_attention;
pub mod state_dict;
mod unet2d;
mod unet_choices;
mod unet_config;
mod unet_levels;

pub use config_rules::suggest_groups;
pub use network::{Conditions, Model, Network};
pub use parameters::{
    GRADIENTS, Initial, Initialization, PARAMETERS, Parameter, ParameterId, Parameters, Weights, statistics_of,
};
pub use unet_choices::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding, TimeShift, UpBlock,
};
pub use unet_config::UNet2dConfig;
pub use unet2d::{UNet2d, sinusoid};
