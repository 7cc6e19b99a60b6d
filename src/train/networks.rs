//! Networks from settings, for the images of a data set.

use super::config::{Config, NetworkName};
use crate::data::Dataset;
use crate::nn::{
    Classifier, ClassifierConfig, DownBlock, Network, PlainUNet, PlainUNetConfig, ResidualUNet, ResidualUNetConfig,
    SampleSize, TimeShift, UNet2d, UNet2dConfig, UpBlock, Vae, VaeConfig,
};
use crate::{Error, Result};

/// Creates the denoiser. `classes` is the size of its class embedding, including the null class;
/// `None` for no class embedding.
///
/// # Errors
/// Settings that do not fit the network.
pub fn denoiser(config: &Config, data: &Dataset, classes: Option<u32>) -> Result<Box<dyn Network>> {
    let [channels, height, width] = data.shape();
    let out_channels = if config.learned_variance { 2 * channels } else { channels };
    Ok(match config.network {
        NetworkName::Unet => Box::new(UNet2d::new(UNet2dConfig {
            out_channels,
            num_class_embeds: classes,
            ..unet_config(config, channels, height, width)
        })?),
        NetworkName::Plain => Box::new(
            PlainUNet::new(PlainUNetConfig {
                sample_size: [height, width],
                in_channels: channels,
                out_channels,
                block_out_channels: config.block_out_channels.clone(),
                time_channels: config.condition_channels,
                class_channels: config.condition_channels,
                hidden: config.hidden_channels,
                num_class_embeds: classes,
                num_train_timesteps: config.timesteps,
            })
            .map_err(name_settings)?,
        ),
        NetworkName::Residual => Box::new(ResidualUNet::new(ResidualUNetConfig {
            sample_size: [height, width],
            in_channels: channels,
            out_channels,
            block_out_channels: config.block_out_channels.clone(),
            layers_per_block: config.layers_per_block,
            attention: config.attention.clone(),
            attention_head_dim: config.attention_head_dim,
            norm_num_groups: config.norm_num_groups,
            downsample: config.downsample,
            dropout: f64::from(config.dropout),
            num_class_embeds: classes,
        })?),
        NetworkName::Classifier | NetworkName::Vae => {
            return Err(Error::Config("this network is not a denoiser".into()));
        }
    })
}

/// The settings of the plain network have other names than the keys of its config.
fn name_settings(problem: Error) -> Error {
    match problem {
        Error::Config(text) => Error::Config(
            text.replace("`time_channels`", "`condition_channels`").replace("`hidden`", "`hidden_channels`"),
        ),
        other => other,
    }
}

/// Creates the classifier.
///
/// # Errors
/// As [`denoiser`].
pub fn classifier(config: &Config, data: &Dataset) -> Result<Classifier> {
    let [channels, height, width] = data.shape();
    Classifier::new(ClassifierConfig {
        sample_size: [height, width],
        in_channels: channels,
        block_out_channels: config.block_out_channels.clone(),
        classes: data.classes as u32,
        noise_aware: config.noise_aware,
        dropout: f64::from(config.dropout),
        ..ClassifierConfig::default()
    })
}

/// Creates the autoencoder.
///
/// # Errors
/// As [`denoiser`].
pub fn autoencoder(config: &Config, data: &Dataset) -> Result<Vae> {
    let [channels, height, width] = data.shape();
    Vae::new(VaeConfig {
        sample_size: [height, width],
        in_channels: channels,
        block_out_channels: config.block_out_channels.clone(),
        norm_num_groups: config.norm_num_groups,
        latent_channels: config.latent_channels,
        likelihood: config.likelihood,
    })
}

fn unet_config(config: &Config, channels: u32, height: u32, width: u32) -> UNet2dConfig {
    let down = |&attention: &bool| if attention { DownBlock::Attention } else { DownBlock::Plain };
    let up = |&attention: &bool| if attention { UpBlock::Attention } else { UpBlock::Plain };
    UNet2dConfig {
        sample_size: Some(SampleSize::new(height, width)),
        in_channels: channels,
        down_block_types: config.attention.iter().map(down).collect(),
        up_block_types: config.attention.iter().rev().map(up).collect(),
        block_out_channels: config.block_out_channels.clone(),
        layers_per_block: config.layers_per_block,
        attention_head_dim: Some(config.attention_head_dim),
        norm_num_groups: config.norm_num_groups,
        resnet_time_scale_shift: if config.scale_shift { TimeShift::ScaleShift } else { TimeShift::Add },
        dropout: f64::from(config.dropout),
        // A model without attention has none in its middle block either.
        add_attention: config.attention.contains(&true),
        ..UNet2dConfig::default()
    }
}
