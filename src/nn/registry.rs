//! Models by the `_class_name` of their `config.json`. A new network needs a line in the list below.

use super::classifier::{Classifier, ClassifierConfig};
use super::config::Config;
use super::network::{Model, Network};
use super::plain_unet::{PlainUNet, PlainUNetConfig};
use super::residual_unet::{ResidualUNet, ResidualUNetConfig};
use super::unet_config::UNet2dConfig;
use super::unet2d::UNet2d;
use super::vae::{Vae, VaeConfig};
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// A model of any kind.
#[derive(Debug)]
pub enum Any {
    /// A denoiser.
    Denoiser(Box<dyn Network>),
    /// A classifier.
    Classifier(Classifier),
    /// An autoencoder.
    Vae(Vae),
}

impl Any {
    /// What all kinds have in common.
    pub fn model(&self) -> &dyn Model {
        match self {
            Any::Denoiser(network) => &**network,
            Any::Classifier(network) => network,
            Any::Vae(vae) => vae,
        }
    }
}

/// A model, and the keys of its config that it does not have and passes over; or what is wrong, in words.
type Made = std::result::Result<(Any, Vec<String>), String>;

/// Every model.
const MODELS: [(&str, fn(&str) -> Made); 5] = [
    ("UNet2DModel", unet2d),
    (PlainUNetConfig::CLASS, |json| made(json, PlainUNet::new, |network| Any::Denoiser(Box::new(network)))),
    (ResidualUNetConfig::CLASS, |json| made(json, ResidualUNet::new, |network| Any::Denoiser(Box::new(network)))),
    (ClassifierConfig::CLASS, |json| made(json, Classifier::new, Any::Classifier)),
    (VaeConfig::CLASS, |json| made(json, Vae::new, Any::Vae)),
];

fn made<C: Config, M>(json: &str, new: fn(C) -> Result<M>, kind: fn(M) -> Any) -> Made {
    let model = new(C::from_json(json)?).map_err(|e| e.to_string())?;
    Ok((kind(model), vec![]))
}

/// The one that others write, too: keys that are not known do not matter.
fn unet2d(json: &str) -> Made {
    let (config, unknown) = UNet2dConfig::from_json(json)?;
    Ok((Any::Denoiser(Box::new(UNet2d::new(config).map_err(|e| e.to_string())?)), unknown))
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

/// The model that a config is of. Also returns the keys that its class does not have, for the caller to print.
///
/// # Errors
/// What is wrong, in words: no JSON, a class that is not there (with those that are), or a config that the class refuses.
pub fn from_json(json: &str) -> Made {
    let class = class(json)?;
    match MODELS.iter().find(|(name, _)| *name == class) {
        Some((_, make)) => make(json),
        None => {
            let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
            Err(format!("`_class_name` = {class:?} is not supported: it must be one of {}", names.join(", ")))
        }
    }
}

/// [`from_json`] of a config file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
pub fn read(path: &Path) -> Result<(Any, Vec<String>)> {
    let json = std::fs::read_to_string(path).map_err(Error::io(path))?;
    from_json(&json).map_err(|problem| Error::file(path, problem))
}
