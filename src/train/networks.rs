//! Networks from settings, for the images of a data set.

use super::config::{Config, NetworkName};
use crate::data::Dataset;
use crate::nn::{
    Classifier, ClassifierConfig, DownBlock, Network, PlainUNet, PlainUNetConfig, ResidualUNet, ResidualUNetConfig,
    SampleSize, TimeShift, UNet2d, UNet2dConfig, UpBlock, Vae, VaeConfig,
};
use crate::{Error, Result};
use serde_json::{Map, Value};

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
            ..unet_config(config, data.shape())?
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
        hidden_channels: Some(config.hidden_channels).filter(|&width| width > 0),
        likelihood: config.likelihood,
    })
}

/// Keys of a U-Net's config that follow from the data and from other settings.
pub(super) const UNET_DATA_KEYS: [&str; 4] = ["sample_size", "in_channels", "out_channels", "num_class_embeds"];

/// The config of a U-Net for images `[C, H, W]`. Output channels and classes are not set.
///
/// # Errors
/// A setting `unet_config` that is not a JSON object of keys of `UNet2DModel`.
pub(super) fn unet_config(config: &Config, [channels, height, width]: [u32; 3]) -> Result<UNet2dConfig> {
    let down = |&attention: &bool| if attention { DownBlock::Attention } else { DownBlock::Plain };
    let up = |&attention: &bool| if attention { UpBlock::Attention } else { UpBlock::Plain };
    let described = UNet2dConfig {
        sample_size: Some(SampleSize::new(height, width)),
        in_channels: channels,
        down_block_types: config.attention.iter().map(down).collect(),
        up_block_types: config.attention.iter().rev().map(up).collect(),
        block_out_channels: config.block_out_channels.clone(),
        layers_per_block: config.layers_per_block,
        attention_head_dim: Some(config.attention_head_dim),
        norm_num_groups: config.norm_num_groups,
        // With scale and shift, diffusers normalizes before the middle attention only if this is set.
        attn_norm_num_groups: config.scale_shift.then_some(config.norm_num_groups),
        resnet_time_scale_shift: if config.scale_shift { TimeShift::ScaleShift } else { TimeShift::Add },
        dropout: f64::from(config.dropout),
        // A model without attention has none in its middle block either.
        add_attention: config.attention.contains(&true),
        ..UNet2dConfig::default()
    };
    with_keys(described, &config.unet_config).map_err(|problem| Error::Config(format!("--unet-config: {problem}")))
}

/// A config with other values for the keys of a JSON object.
fn with_keys(config: UNet2dConfig, json: &str) -> std::result::Result<UNet2dConfig, String> {
    let keys: Map<String, Value> = serde_json::from_str(json).map_err(|e| format!("not a JSON object: {e}"))?;
    if keys.is_empty() {
        return Ok(config);
    }
    if let Some(key) = UNET_DATA_KEYS.iter().find(|key| keys.contains_key(**key)) {
        return Err(format!("`{key}` follows from the data and other settings"));
    }
    let mut all: Map<String, Value> = serde_json::from_str(&config.to_json()).map_err(|e| e.to_string())?;
    all.extend(keys);
    match UNet2dConfig::from_json(&Value::Object(all).to_string())? {
        (config, unknown) if unknown.is_empty() => Ok(config),
        (_, unknown) => Err(format!("UNet2DModel has no key `{}`", unknown.join("`, `"))),
    }
}
