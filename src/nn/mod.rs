//! Parameters, layers and models. This layer uses operators but not their kernels, and does not
//! know noise schedules or training.

pub mod blocks;
mod choices;
mod config;
mod config_rules;
mod embedding;
mod file_order;
pub mod layers;
mod models;
mod network;
mod padding;
mod parameters;
mod repeated;

pub use choices::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding, TimeShift, UpBlock,
};
pub use config::ModelConfig;
pub use config_rules::suggest_groups;
pub use embedding::sinusoid;
pub use models::classifier::{Classifier, ClassifierConfig, Pooling};
pub use models::plain_unet::{PlainUNet, PlainUNetConfig};
pub use models::residual_unet::{DownsampleType, ResidualUNet, ResidualUNetConfig};
pub use models::unet2d::UNet2d;
pub use models::unet2d_config::UNet2dConfig;
pub use models::vae::{Likelihood, Vae, VaeConfig};
pub use network::{Conditions, Model, Network, TimeTable};
pub use parameters::{
    GRADIENTS, Initial, Initialization, JoinedId, PARAMETERS, Parameter, ParameterId, Parameters, Weights,
    statistics_of,
};
