//! Models by the `_class_name` of their `config.json`. A new network needs a line in the list below.

use super::classifier::{Classifier, ClassifierConfig};
use super::config::Config;
use super::network::Network;
use super::plain_unet::{PlainUNet, PlainUNetConfig};
use super::residual_unet::{ResidualUNet, ResidualUNetConfig};
use super::unet_config::UNet2dConfig;
use super::unet2d::UNet2d;
use super::vae::{Vae, VaeConfig};
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// A network, and the keys of its config that it does not have and passes over; or what is wrong, in words.
type Made = std::result::Result<(Box<dyn Network>, Vec<String>), String>;

/// Every network.
const NETWORKS: [(&str, fn(&str) -> Made); 4] = [
    ("UNet2DModel", unet2d),
    (PlainUNetConfig::CLASS, |json| made(json, PlainUNet::new)),
    (ResidualUNetConfig::CLASS, |json| made(json, ResidualUNet::new)),
    (ClassifierConfig::CLASS, |json| made(json, Classifier::new)),
];

fn made<C: Config, N: Network + 'static>(json: &str, new: fn(C) -> Result<N>) -> Made {
    let network = new(C::from_json(json)?).map_err(|e| e.to_string())?;
    Ok((Box::new(network), vec![]))
}

/// The one that others write, too: keys that are not known do not matter.
fn unet2d(json: &str) -> Made {
    let (config, unknown) = UNet2dConfig::from_json(json)?;
    Ok((Box::new(UNet2d::new(config).map_err(|e| e.to_string())?), unknown))
}

/// `_class_name`; a config without one is that of a `UNet2DModel`.
fn class(json: &str) -> std::result::Result<String, String> {
    let value: Value = serde_json::from_str(json).map_err(|e| format!("no JSON object: {e}"))?;
    match value.get("_class_name") {
        None => Ok("UNet2DModel".into()),
        Some(Value::String(name)) => Ok(name.clone()),
        Some(other) => Err(format!("`_class_name` = {other} is not supported: it must be the name of a class")),
    }
}

/// The network that a config is of. Also returns the keys that its class does not have, for the caller to print.
///
/// # Errors
/// What is wrong, in words: no JSON, a class that is not there (with those that are), or a config that the class refuses.
pub fn network(json: &str) -> Made {
    let class = class(json)?;
    match NETWORKS.iter().find(|(name, _)| *name == class) {
        Some((_, make)) => make(json),
        None => {
            let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
            Err(format!("`_class_name` = {class:?} is no network: it must be one of {}", names.join(", ")))
        }
    }
}

/// [`network`] of a config file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
pub fn read_network(path: &Path) -> Result<(Box<dyn Network>, Vec<String>)> {
    let json = std::fs::read_to_string(path).map_err(Error::io(path))?;
    network(&json).map_err(|problem| Error::file(path, problem))
}

/// The autoencoder that a config is of.
///
/// # Errors
/// What is wrong, in words.
pub fn vae(json: &str) -> std::result::Result<Vae, String> {
    Vae::new(VaeConfig::from_json(json)?).map_err(|e| e.to_string())
}

/// [`vae`] of a config file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
pub fn read_vae(path: &Path) -> Result<Vae> {
    let json = std::fs::read_to_string(path).map_err(Error::io(path))?;
    vae(&json).map_err(|problem| Error::file(path, problem))
}
