//! The settings of a run that starts from the weights of another model: its network, and the
//! process that its weights were trained for.

use super::config::{Config, NetworkName, Settings, Size};
use super::networks::{UNET_DATA_KEYS, unet_config};
use super::presets;
use crate::checkpoint::{AnyModel, Checkpoint};
use crate::data::{LoadOptions, is_image_folder};
use crate::diffusion::{BetaSchedule, ProcessConfig};
use crate::nn::{
    ClassifierConfig, DownBlock, ModelConfig, PlainUNetConfig, ResidualUNetConfig, TimeShift, UNet2dConfig, VaeConfig,
};
use crate::output::shortest;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// Settings of a network that weights do not depend on.
const NOT_IN_WEIGHTS: [&str; 1] = ["dropout"];

/// Completes given settings by those of a checkpoint. Returns warnings of settings for which the
/// weights were not trained.
///
/// # Errors
/// A setting of the network that is not the checkpoint's; a preset of another network.
pub(super) fn complete(checkpoint: &Checkpoint, given: Settings) -> Result<(Settings, Vec<String>)> {
    let folder = checkpoint.folder.display();
    let network = network(checkpoint)?;
    let preset = preset_of(checkpoint, &network);
    if let Some(asked) = &given.preset {
        let trained = presets::settings(asked, Size::Tiny)?;
        let denoises = matches!(checkpoint.model, AnyModel::Denoiser(_));
        let own = family(checkpoint.metadata.process);
        if denoises && given.process.is_none() && trained.process.is_some_and(|process| family(process) != own) {
            return Err(Error::Config(format!(
                "--preset {asked} trains with another process than the model in {folder} ({}): leave it out, use --preset \
                 {preset}, or set --process",
                checkpoint.metadata.process
            )));
        }
        if trained.network != network.network {
            return Err(Error::Config(format!(
                "--preset {asked} trains another network than the {} in {folder}: leave it out, or use --preset {preset}",
                checkpoint.model.model().class()
            )));
        }
    }
    let [asked, fixed] = [&given, &network].map(table);
    let (asked, fixed) = (asked?, fixed?);
    for (key, value) in fixed.iter().filter(|(key, _)| !NOT_IN_WEIGHTS.contains(&key.as_str())) {
        if let Some(other) = asked.get(key).filter(|other| !is_same(key, other, value)) {
            return Err(Error::Config(format!(
                "--{}: {folder} was trained with {}, and its weights do not fit {}. Leave it out",
                key.replace('_', "-"),
                shown(value),
                shown(other)
            )));
        }
    }
    let process = process(checkpoint);
    let mut warnings = vec![];
    for (key, value) in table(&process)? {
        if let Some(other) = asked.get(&key).filter(|other| **other != value) {
            warnings.push(format!(
                "--{} {}: the weights were trained with {}, and have to learn the difference first",
                key.replace('_', "-"),
                shown(other),
                shown(&value)
            ));
        }
    }
    let labels = checkpoint.metadata.denoiser.labels;
    let denoises = matches!(checkpoint.model, AnyModel::Denoiser(_));
    let labels = Settings {
        preset: Some(preset),
        unconditional: denoises.then_some(labels.is_none()),
        label_dropout: labels.map(|labels| labels.dropout).filter(|&rate| rate > 0.0),
        ..Settings::default()
    };
    let images = images(checkpoint, &given)?;
    Ok((given.or(network).or(process).or(labels).or(images), warnings))
}

/// How a folder of image files is read, if the data set is one: at the size of the model.
fn images(checkpoint: &Checkpoint, given: &Settings) -> Result<Settings> {
    let Some(folder) = given.data.as_ref().filter(|folder| folder.is_dir()) else { return Ok(Settings::default()) };
    if !is_image_folder(folder)? {
        return Ok(Settings::default());
    }
    let LoadOptions { resolution, channels, .. } = LoadOptions::of_model(checkpoint.model.model().image_shape());
    Ok(Settings { resolution: Some(resolution), channels: Some(channels), ..Settings::default() })
}

/// Processes with the same samplers.
#[derive(PartialEq)]
enum Family {
    Discrete,
    Edm,
    Flow,
    Equation,
}

fn family(process: ProcessConfig) -> Family {
    match process {
        ProcessConfig::Discrete => Family::Discrete,
        ProcessConfig::Edm(_) => Family::Edm,
        ProcessConfig::Flow(_) => Family::Flow,
        _ => Family::Equation,
    }
}

/// The preset that trains such a model.
fn preset_of(checkpoint: &Checkpoint, network: &Settings) -> String {
    let metadata = &checkpoint.metadata;
    let preset = match network.network {
        Some(NetworkName::Vae) => "vae",
        Some(NetworkName::Classifier) => "classifier",
        Some(NetworkName::Residual) => "residual-attention",
        Some(NetworkName::Plain) if metadata.denoiser.labels.is_none() => "plain",
        Some(NetworkName::Plain) => "plain-conditional",
        Some(NetworkName::Unet) | None => match metadata.process {
            ProcessConfig::Discrete if metadata.denoiser.learned_variance => "hybrid",
            ProcessConfig::Discrete => "ddpm",
            ProcessConfig::Edm(_) => "edm",
            ProcessConfig::Flow(_) => "flow",
            _ => "score",
        },
    };
    preset.into()
}

/// The settings of the process that a model was trained for.
fn process(checkpoint: &Checkpoint) -> Settings {
    let denoises = matches!(checkpoint.model, AnyModel::Denoiser(_));
    let process = Settings { process: denoises.then_some(checkpoint.metadata.process), ..Settings::default() };
    let Some(scheduler) = &checkpoint.scheduler else { return process };
    let rescale_betas = match &scheduler.schedule {
        BetaSchedule::Linear(range) | BetaSchedule::ScaledLinear(range) | BetaSchedule::Sigmoid(range) => {
            Some(range.rescale)
        }
        BetaSchedule::Cosine | BetaSchedule::LogSnr(_) | BetaSchedule::Given { .. } => None,
    };
    let noise = Settings {
        schedule: Some(scheduler.schedule.clone()),
        timesteps: Some(scheduler.timesteps),
        rescale_betas,
        zero_terminal_snr: Some(scheduler.zero_terminal_snr),
        prediction: denoises.then_some(scheduler.prediction),
        ..Settings::default()
    };
    process.or(noise)
}

/// The settings of the network of a checkpoint.
fn network(checkpoint: &Checkpoint) -> Result<Settings> {
    let model = checkpoint.model.model();
    let json = model.config_json();
    let problem = |problem: String| Error::file(&checkpoint.folder, problem);
    Ok(match model.class() {
        PlainUNetConfig::CLASS => {
            let config = PlainUNetConfig::from_json(&json).map_err(problem)?;
            if config.time_channels != config.class_channels {
                let differ = "`time_channels` and `class_channels` differ, and a run has one setting for both";
                return Err(problem(differ.into()));
            }
            Settings {
                network: Some(NetworkName::Plain),
                block_out_channels: Some(config.block_out_channels),
                condition_channels: Some(config.time_channels),
                hidden_channels: Some(config.hidden),
                learned_variance: Some(checkpoint.metadata.denoiser.learned_variance),
                ..Settings::default()
            }
        }
        ResidualUNetConfig::CLASS => {
            let config = ResidualUNetConfig::from_json(&json).map_err(problem)?;
            Settings {
                network: Some(NetworkName::Residual),
                block_out_channels: Some(config.block_out_channels),
                layers_per_block: Some(config.layers_per_block),
                attention: Some(config.attention),
                attention_head_dim: Some(config.attention_head_dim),
                norm_num_groups: Some(config.norm_num_groups),
                downsample: Some(config.downsample),
                dropout: Some(config.dropout as f32),
                learned_variance: Some(checkpoint.metadata.denoiser.learned_variance),
                ..Settings::default()
            }
        }
        ClassifierConfig::CLASS => {
            let config = ClassifierConfig::from_json(&json).map_err(problem)?;
            Settings {
                network: Some(NetworkName::Classifier),
                // One for each level, although a classifier has no attention.
                attention: Some(vec![false; config.block_out_channels.len()]),
                block_out_channels: Some(config.block_out_channels),
                noise_aware: Some(config.noise_aware),
                dropout: Some(config.dropout as f32),
                ..Settings::default()
            }
        }
        VaeConfig::CLASS => {
            let config = VaeConfig::from_json(&json).map_err(problem)?;
            Settings {
                network: Some(NetworkName::Vae),
                attention: Some(vec![false; config.block_out_channels.len()]),
                block_out_channels: Some(config.block_out_channels),
                norm_num_groups: Some(config.norm_num_groups),
                latent_channels: Some(config.latent_channels),
                hidden_channels: Some(config.hidden_channels.unwrap_or(0)),
                likelihood: Some(config.likelihood),
                ..Settings::default()
            }
        }
        _ => {
            let (config, _) = UNet2dConfig::from_json(&json).map_err(problem)?;
            let learned_variance = Some(checkpoint.metadata.denoiser.learned_variance);
            Settings { learned_variance, ..unet(&config)? }
        }
    })
}

/// The settings of a U-Net. Keys that no setting has are in `unet_config`.
fn unet(config: &UNet2dConfig) -> Result<Settings> {
    let settings = Settings {
        network: Some(NetworkName::Unet),
        attention: Some(config.down_block_types.iter().map(|&block| block == DownBlock::Attention).collect()),
        block_out_channels: Some(config.block_out_channels.clone()),
        layers_per_block: Some(config.layers_per_block),
        attention_head_dim: Some(config.attention_head_dim.unwrap_or(config.block_out_channels[0])),
        norm_num_groups: Some(config.norm_num_groups),
        scale_shift: Some(config.resnet_time_scale_shift == TimeShift::ScaleShift),
        dropout: Some(config.dropout as f32),
        unet_config: Some("{}".into()),
        ..Settings::default()
    };
    let places =
        Settings { size: Some(Size::Tiny), preset: Some("ddpm".into()), out: Some("".into()), ..Settings::default() };
    let whole: Config = settings.clone().or(places).or(presets::settings("ddpm", Size::Tiny)?).complete()?;
    let [described, wanted] = [unet_config(&whole, [config.in_channels, 1, 1])?, config.clone()]
        .map(|config| serde_json::from_str::<Map<String, Value>>(&config.to_json()).unwrap_or_default());
    // A dropout of f32 has more digits as f64.
    let is_setting = |key: &str| UNET_DATA_KEYS.contains(&key) || key == "dropout" || key.starts_with('_');
    let rest: Map<String, Value> =
        wanted.into_iter().filter(|(key, value)| !is_setting(key) && described.get(key) != Some(value)).collect();
    Ok(Settings { unet_config: Some(Value::Object(rest).to_string()), ..settings })
}

fn table(settings: &Settings) -> Result<toml::Table> {
    toml::Table::try_from(settings).map_err(|e| Error::Config(format!("the settings cannot be written as TOML: {e}")))
}

/// Whether two values of a setting are equal. `unet_config` is JSON, where spaces have no meaning.
fn is_same(key: &str, one: &toml::Value, other: &toml::Value) -> bool {
    let json = |value: &toml::Value| serde_json::from_str::<serde_json::Value>(value.as_str()?).ok();
    one == other || key == "unet_config" && json(one).is_some() && json(one) == json(other)
}

fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(number) => shortest(*number),
        toml::Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
