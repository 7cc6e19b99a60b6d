//! `unet/config.json` of a diffusers pipeline: every key of `UNet2DModel`, with its default.
//!
//! An unsupported value is refused with the key, the value and the supported values. Keys that
//! `UNet2DModel` does not have are returned, for the caller to print.

use crate::nn::choices::{
    Activation, ClassEmbedding, DownBlock, MidBlock, Resampling, SampleSize, TimeEmbedding, TimeShift, UpBlock,
};
use crate::nn::config_rules::{
    Rule, channels, check_sides, divides, divides_all, head_fits, layers, levels_at_least, rate,
};
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::Path;

macro_rules! config {
    ($($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr;)*) => {
        /// The settings of a [`UNet2d`](crate::nn::UNet2d), under the names that diffusers gives
        /// them.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub struct UNet2dConfig {
            $($(#[doc = $doc])* pub $key: $type,)*
        }

        impl Default for UNet2dConfig {
            fn default() -> UNet2dConfig {
                UNet2dConfig { $($key: $default,)* }
            }
        }

        impl UNet2dConfig {
            fn from_map(map: &mut Map<String, Value>) -> std::result::Result<UNet2dConfig, String> {
                Ok(UNet2dConfig { $($key: take(map, stringify!($key))?.unwrap_or($default),)* })
            }
        }
    };
}

config! {
    /// Height and width of the samples; only pipelines use it.
    sample_size: Option<SampleSize> = None;
    /// Channels of the noisy image.
    in_channels: u32 = 3;
    /// Channels of the prediction: equal to the input's, or twice as many with a learned variance.
    out_channels: u32 = 3;
    /// Whether the image is mapped to 2x - 1 first.
    center_input_sample: bool = false;
    /// How the timestep becomes a vector.
    time_embedding_type: TimeEmbedding = TimeEmbedding::Positional;
    /// Width of the time embedding; [default: four times the first level's channels].
    time_embedding_dim: Option<u32> = None;
    /// Subtracted from the number of frequencies in the exponents' denominator.
    freq_shift: f64 = 0.0;
    /// Whether cosines come before sines.
    flip_sin_to_cos: bool = true;
    /// Blocks from the finest level to the coarsest.
    down_block_types: Vec<DownBlock> =
        vec![DownBlock::Plain, DownBlock::Attention, DownBlock::Attention, DownBlock::Attention];
    /// The block in the middle, if any.
    mid_block_type: Option<MidBlock> = Some(MidBlock::Resnets);
    /// Blocks from the coarsest level to the finest.
    up_block_types: Vec<UpBlock> = vec![UpBlock::Attention, UpBlock::Attention, UpBlock::Attention, UpBlock::Plain];
    /// Channels of each level, from the finest.
    block_out_channels: Vec<u32> = vec![224, 448, 672, 896];
    /// Residual blocks per down level; up levels have one more.
    layers_per_block: u32 = 2;
    /// Divisor of the results of the middle blocks.
    mid_block_scale_factor: f64 = 1.0;
    /// 1: halving pads symmetrically; 0: right and below.
    downsample_padding: u32 = 1;
    /// How maps are halved.
    downsample_type: Resampling = Resampling::Conv;
    /// How maps are doubled.
    upsample_type: Resampling = Resampling::Conv;
    /// Probability with which the residual blocks drop an element in training.
    dropout: f64 = 0.0;
    /// The activation function of the residual blocks.
    act_fn: Activation = Activation::Silu;
    /// Channels of an attention head; [default: one head of all channels].
    attention_head_dim: Option<u32> = Some(8);
    /// Groups of the group normalizations.
    norm_num_groups: u32 = 32;
    /// Groups of the middle attention's normalization [default: norm_num_groups].
    attn_norm_num_groups: Option<u32> = None;
    /// Added to variances.
    norm_eps: f64 = 1e-5;
    /// How residual blocks use the time embedding.
    resnet_time_scale_shift: TimeShift = TimeShift::Add;
    /// Whether the middle block has attention.
    add_attention: bool = true;
    /// Only null is supported: classes, if any, are embedded by a table.
    class_embed_type: Option<ClassEmbedding> = None;
    /// Number of classes, including a null class.
    num_class_embeds: Option<u32> = None;
    /// Only used by a time embedding that is not supported.
    num_train_timesteps: Option<u32> = None;
    /// Consecutive numbers k: the first convolution also takes sin(2^k pi z) and cos(2^k pi z), with
    /// z = 255/256 x ([`fourier_features`](crate::ops::fourier_features())). `UNet2DModel` does not
    /// have this key, so it is only written if the list is not empty, and diffusers cannot load such
    /// a model.
    fourier_features: Vec<u32> = vec![];
}

/// Largest entry of `fourier_features`, plus 1.
const MAX_FREQUENCY: u32 = crate::ops::fourier_features::MAX_FREQUENCY;

/// Takes a key out of the map, if it exists.
fn take<T: DeserializeOwned>(map: &mut Map<String, Value>, key: &str) -> std::result::Result<Option<T>, String> {
    let Some(value) = map.remove(key) else { return Ok(None) };
    let shown = value.to_string();
    serde_json::from_value(value).map(Some).map_err(|e| format!("`{key}` = {shown} is not supported: {e}"))
}

impl UNet2dConfig {
    /// Reads a config from JSON. Also returns the keys that `UNet2DModel` does not have.
    ///
    /// # Errors
    /// A message that says what is wrong: no JSON, a value that is not supported, or values that do
    /// not fit each other.
    pub fn from_json(text: &str) -> std::result::Result<(UNet2dConfig, Vec<String>), String> {
        let mut map: Map<String, Value> = serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
        if let Some(class) = map.remove("_class_name").filter(|class| class != "UNet2DModel") {
            return Err(format!("`_class_name` = {class} is not supported: it must be \"UNet2DModel\""));
        }
        let config = UNet2dConfig::from_map(&mut map)?;
        check(&config)?;
        let informative = |key: &String| key.starts_with('_');
        Ok((config, map.into_iter().map(|(key, _)| key).filter(|key| !informative(key)).collect()))
    }

    /// Reads a config file. Also returns the keys that `UNet2DModel` does not have, for the caller
    /// to print.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
    pub fn read(path: &Path) -> Result<(UNet2dConfig, Vec<String>)> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        UNet2dConfig::from_json(&text).map_err(|problem| Error::file(path, problem))
    }

    /// The config as a file that diffusers loads.
    pub fn to_json(&self) -> String {
        let mut map = Map::new();
        map.insert("_class_name".into(), "UNet2DModel".into());
        map.insert("_diffusers_version".into(), "0.42.1".into());
        let all = serde_json::to_value(self).expect("numbers, names and lists have a form in JSON");
        let written = |(key, _): &(&String, &Value)| *key != "fourier_features" || !self.fourier_features.is_empty();
        let all = all.as_object().into_iter().flatten().filter(written);
        map.extend(all.map(|(key, value)| (key.clone(), whole(value))));
        format!("{:#}\n", Value::Object(map))
    }

    /// Channels of the first convolution for each channel of the image.
    pub(super) fn features(&self) -> u32 {
        1 + 2 * self.fourier_features.len() as u32
    }

    /// Checks that the values are supported and fit each other.
    ///
    /// # Errors
    /// [`Error::Config`], with values that would fit.
    pub fn validate(&self) -> Result<()> {
        check(self).map_err(Error::Config)
    }

    /// Checks that it supports images of a size.
    ///
    /// # Errors
    /// [`Error::Config`], with the sizes that it supports.
    pub fn check_size(&self, height: u32, width: u32) -> Result<()> {
        check_sides(height, width).map_err(Error::Config)
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Width of the time embedding.
    pub fn time_width(&self) -> u32 {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }
}

/// Writes whole numbers without a decimal point, as diffusers does.
fn whole(value: &Value) -> Value {
    match value.as_f64() {
        Some(x) if x.fract() == 0.0 && x.abs() < 1e15 => Value::from(x as i64),
        _ => value.clone(),
    }
}

/// Checks every rule that does not depend on the size of the images.
fn check(config: &UNet2dConfig) -> Rule {
    let levels = config.block_out_channels.len();
    let list = |key: &str, count: usize| {
        if count == levels {
            Ok(())
        } else {
            Err(format!("`{key}` has {count} entries, but `block_out_channels` has {levels}: one for each level"))
        }
    };
    list("down_block_types", config.down_block_types.len())?;
    list("up_block_types", config.up_block_types.len())?;
    levels_at_least(&config.block_out_channels, 1)?;
    channels("in_channels", config.in_channels)?;
    channels("out_channels", config.out_channels)?;
    layers("layers_per_block", config.layers_per_block)?;
    for (key, value) in [
        ("num_class_embeds", config.num_class_embeds),
        ("time_embedding_dim", config.time_embedding_dim),
        ("attention_head_dim", config.attention_head_dim),
    ] {
        value.map_or(Ok(()), |value| channels(key, value))?;
    }
    rate("dropout", config.dropout)?;
    let given = &config.fourier_features;
    if given.iter().any(|&k| k >= MAX_FREQUENCY) || given.windows(2).any(|pair| pair[1] != pair[0] + 1) {
        return Err(format!(
            "`fourier_features` = {given:?} is not supported: use consecutive numbers below {MAX_FREQUENCY}, such as [7, 8]"
        ));
    }
    if config.downsample_padding > 1 {
        return Err(format!(
            "`downsample_padding` = {} is not supported: it must be 0 or 1",
            config.downsample_padding
        ));
    }
    for (key, value) in [("norm_eps", config.norm_eps), ("mid_block_scale_factor", config.mid_block_scale_factor)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(format!("`{key}` = {value} must be a positive number"));
        }
    }
    let frequencies = f64::from(config.block_out_channels[0] / 2);
    if !(config.freq_shift.is_finite() && config.freq_shift < frequencies) {
        return Err(format!("`freq_shift` = {} must be less than the {frequencies} frequencies", config.freq_shift));
    }
    groups(config)?;
    heads(config)
}

fn groups(config: &UNet2dConfig) -> Rule {
    let levels = &config.block_out_channels;
    divides_all(levels, "norm_num_groups", config.norm_num_groups)?;
    match config.attn_norm_num_groups {
        Some(groups) => divides(levels, "attn_norm_num_groups", groups, levels.len() - 1),
        None => Ok(()),
    }
}

fn heads(config: &UNet2dConfig) -> Rule {
    let last = config.levels() - 1;
    let used = |level: usize| {
        config.down_block_types[level] == DownBlock::Attention
            || config.up_block_types[last - level] == UpBlock::Attention
            || (level == last && config.add_attention && config.mid_block_type.is_some())
    };
    (0..=last)
        .filter(|&level| used(level))
        .try_for_each(|level| head_fits(&config.block_out_channels, level, config.attention_head_dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unet2d_config_has_defaults_and_returns_unknown_keys() {
        let (config, unknown) =
            UNet2dConfig::from_json(r#"{"_diffusers_version": "0.11", "decay": 0.9999, "power": 0.75}"#).unwrap();
        assert_eq!(config, UNet2dConfig::default());
        assert_eq!(unknown, ["decay", "power"]);
    }

    #[test]
    fn unet2d_config_is_read_as_written() {
        let config = UNet2dConfig {
            sample_size: Some(SampleSize::Rectangle([28, 32])),
            act_fn: Activation::Relu,
            resnet_time_scale_shift: TimeShift::ScaleShift,
            mid_block_scale_factor: 1.5,
            mid_block_type: None,
            attention_head_dim: None,
            norm_eps: 1e-6,
            dropout: 0.1,
            num_class_embeds: Some(11),
            ..UNet2dConfig::default()
        };
        let text = config.to_json();
        assert_eq!(UNet2dConfig::from_json(&text).unwrap(), (config, vec![]));
        for part in [
            r#""_class_name": "UNet2DModel""#,
            r#""resnet_time_scale_shift": "scale_shift""#,
            r#""mid_block_type": null"#,
            r#""freq_shift": 0,"#,
            r#""AttnDownBlock2D""#,
            r#""act_fn": "relu""#,
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn unet2d_config_checks_image_sizes() {
        let config = UNet2dConfig::default();
        assert!(config.check_size(32, 8).is_ok() && config.check_size(1, 27).is_ok());
        let error = config.check_size(0, 28).unwrap_err().to_string();
        assert!(error.contains("0x28") && error.contains("at least 1"), "{error}");
    }
}
