//! Named choices in a [`UNet2dConfig`](super::UNet2dConfig) and in other models' configs. An
//! unknown name is refused with the list of known ones.

use serde::{Deserialize, Serialize};

/// A down block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlock {
    /// Residual blocks.
    #[serde(rename = "DownBlock2D", alias = "UNetResDownBlock2D")]
    Plain,
    /// Residual blocks, each followed by self-attention.
    #[serde(rename = "AttnDownBlock2D", alias = "UNetResAttnDownBlock2D")]
    Attention,
}

/// An up block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlock {
    /// Residual blocks.
    #[serde(rename = "UpBlock2D", alias = "UNetResUpBlock2D")]
    Plain,
    /// Residual blocks, each followed by self-attention.
    #[serde(rename = "AttnUpBlock2D", alias = "UNetResAttnUpBlock2D")]
    Attention,
}

/// The block in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MidBlock {
    /// Two residual blocks, with self-attention between them if `add_attention`.
    #[serde(rename = "UNetMidBlock2D")]
    Resnets,
}

/// The activation function of the residual blocks. The time embedding and the model's end always
/// use SiLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x · sigmoid(x)
    #[serde(alias = "swish")]
    Silu,
    /// max(x, 0)
    Relu,
}

/// How a residual block uses the time embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeShift {
    /// Added to the map.
    #[serde(rename = "default")]
    Add,
    /// As a scale and a shift of the normalized map.
    ScaleShift,
}

/// How the timestep becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeEmbedding {
    /// Sines and cosines of falling frequencies.
    Positional,
}

/// How maps are halved and doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// By a convolution.
    Conv,
}

/// Height and width of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SampleSize {
    /// Height and width are equal.
    Square(u32),
    /// Height, width.
    Rectangle([u32; 2]),
}

impl SampleSize {
    /// A square if both are equal.
    pub fn new(height: u32, width: u32) -> SampleSize {
        if height == width { SampleSize::Square(height) } else { SampleSize::Rectangle([height, width]) }
    }

    /// Height, width.
    pub fn height_width(self) -> [u32; 2] {
        match self {
            SampleSize::Square(side) => [side; 2],
            SampleSize::Rectangle(sides) => sides,
        }
    }
}

/// Class embeddings that diffusers names; none is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClassEmbedding {}
