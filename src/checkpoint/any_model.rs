//! Models of any class, by the `_class_name` of their `config.json`. A new class needs a line in
//! the list below.

use super::python_json::{self, quote_non_finite};
use crate::nn::{
    Classifier, ClassifierConfig, Model, ModelConfig, Network, PlainUNet, PlainUNetConfig, ResidualUNet,
    ResidualUNetConfig, UNet2d, UNet2dConfig, Vae, VaeConfig,
};
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// A model of any class, by its use.
#[derive(Debug)]
pub enum AnyModel {
    /// A denoiser.
    Denoiser(Box<dyn Network>),
    /// A classifier.
    Classifier(Classifier),
    /// An autoencoder.
    Vae(Vae),
}

impl AnyModel {
    /// The model, independent of its use.
    pub fn model(&self) -> &dyn Model {
        match self {
            AnyModel::Denoiser(network) => &**network,
            AnyModel::Classifier(classifier) => classifier,
            AnyModel::Vae(vae) => vae,
        }
    }

    /// Channels of the input image and of the output. An autoencoder returns images, a classifier
    /// returns logits.
    pub fn channels(&self) -> [u32; 2] {
        match self {
            AnyModel::Denoiser(network) => network.channels(),
            AnyModel::Classifier(classifier) => classifier.channels(),
            AnyModel::Vae(vae) => [vae.image_shape()[0]; 2],
        }
    }
}

/// A model with the unknown keys of its config, which are ignored; or a message that says what is
/// wrong.
type Made = std::result::Result<(AnyModel, Vec<String>), String>;

/// Makes a model from its config.
type Make = fn(&str) -> Made;

/// Every class.
const MODELS: [(&str, Make); 5] = [
    (UNET2D, unet2d),
    (PlainUNetConfig::CLASS, |json| made(json, |config| Ok(AnyModel::Denoiser(Box::new(PlainUNet::new(config)?))))),
    (ResidualUNetConfig::CLASS, |json| {
        made(json, |config| Ok(AnyModel::Denoiser(Box::new(ResidualUNet::new(config)?))))
    }),
    (ClassifierConfig::CLASS, |json| made(json, |config| Ok(AnyModel::Classifier(Classifier::new(config)?)))),
    (VaeConfig::CLASS, |json| made(json, |config| Ok(AnyModel::Vae(Vae::new(config)?)))),
];

/// The class that diffusers also writes. Unknown keys of its config are ignored.
const UNET2D: &str = "UNet2DModel";

fn unet2d(json: &str) -> Made {
    let (config, unknown) = UNet2dConfig::from_json(json)?;
    let network = UNet2d::new(config).map_err(|e| e.to_string())?;
    Ok((AnyModel::Denoiser(Box::new(network)), unknown))
}

fn made<C: ModelConfig>(json: &str, new: impl FnOnce(C) -> Result<AnyModel>) -> Made {
    Ok((new(C::from_json(json)?).map_err(|e| e.to_string())?, vec![]))
}

/// Creates the model of a config. Without `_class_name` it is a `UNet2DModel`. Also returns the
/// keys that the class does not have, for the caller to print.
///
/// # Errors
/// A message for text that is not JSON, for an unknown class (with the known classes), and for a
/// config that the class refuses.
pub fn model_from_json(json: &str) -> Made {
    let json = &quote_non_finite(json);
    let value: Value = serde_json::from_str(json).map_err(|e| format!("not a JSON object: {e}"))?;
    let class = value.get("_class_name").cloned().unwrap_or_else(|| UNET2D.into());
    match MODELS.iter().find(|(name, _)| class == *name) {
        Some((_, make)) => make(json),
        None => {
            let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
            Err(format!("`_class_name` = {class} is not supported: it must be one of {}", names.join(", ")))
        }
    }
}

/// [`model_from_json`] of a config file.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`], with the path and what is wrong.
pub fn read_model(path: &Path) -> Result<(AnyModel, Vec<String>)> {
    let json = python_json::read(path)?;
    model_from_json(&json).map_err(|problem| Error::file(path, problem))
}
