//! The choices that settings have by name.

use serde::{Deserialize, Serialize};

/// Width of the model, and what fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Minutes on two cores.
    Tiny,
    /// Minutes on a GPU, hours on two cores.
    Small,
    /// For a GPU.
    Base,
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Size::Tiny => "tiny",
            Size::Small => "small",
            Size::Base => "base",
        })
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedule {
    /// Not at all.
    Constant,
    /// To zero at the last step, along half a cosine.
    Cosine,
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum NetworkName {
    /// The U-Net of DDPM, as diffusers has it.
    Unet,
    /// A convolutional U-Net with batch normalisation, told of time and label at its bottom.
    Plain,
    /// A residual U-Net with batch normalisation, dropout and attention.
    Residual,
    /// A classifier, which guides or measures.
    Classifier,
    /// A variational autoencoder.
    Vae,
}

/// Whether images are mirrored at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RandomFlip {
    /// If a mirrored image of the data set is as good: photographs are, digits are not.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where the images lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On the device if it can bind them all, otherwise streamed.
    Auto,
    /// On the device.
    Device,
    /// Streamed to the device in chunks by a thread of their own.
    Stream,
}
