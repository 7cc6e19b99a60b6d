//! What a run trains for: which model, what it is shown, what its answer costs, and what can be drawn from it.

use super::settings::Config;
use crate::Result;
use crate::diffusion::{CheckpointMetadata, Denoiser, SchedulerConfig};
use crate::gpu::Context;
use crate::metrics::likelihood::LabeledImages;
use crate::nn::{Model, Weights};
use crate::output::Images;
use crate::tape::{Tape, Tensor};
use std::fmt::Debug;

/// A batch of images on a tape.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The images in [-1, 1], `[B, C, H, W]`.
    pub images: Tensor,
    /// Their classes, u32 `[B]`.
    pub labels: Tensor,
}

/// What a batch costs.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The loss of each image, `[B]`.
    pub loss: Tensor,
    /// The number of the training time that was drawn for it, u32 `[B]`.
    pub time: Tensor,
    /// Weights by training time `[T]` for the mean over the batch, where times are not drawn equally often.
    pub weights: Option<Tensor>,
}

/// How samples are to be drawn for a picture.
#[derive(Clone, Copy, Debug)]
pub struct Drawing<'a> {
    /// Name of the memory that holds the weights.
    pub slab: &'a str,
    /// A label for each image.
    pub labels: &'a [u32],
    /// Number of the first image: noise belongs to an image's number.
    pub first: u32,
    /// Name for the memory of the drawing itself.
    pub name: &'a str,
    /// How often to look on the way, besides at its end.
    pub looks: u32,
}

/// Tables in named memory.
pub type Tables = Vec<(&'static str, Vec<f32>)>;

/// What a run trains for.
pub trait Objective: Debug {
    /// The model.
    fn model(&self) -> &dyn Model;

    /// In words, for the record of a run.
    fn describe(&self) -> String;

    /// What the user should know before training.
    fn warning(&self) -> Option<String> {
        None
    }

    /// Number of training times, in whose quarters the log tells the loss.
    fn times(&self) -> u32;

    /// What lies in memory and never changes.
    fn constants(&self) -> Tables;

    /// What lies in memory and changes with training, besides the model: with its first values. It is saved and restored.
    fn state(&self) -> Tables {
        vec![]
    }

    /// Records the loss of a batch with these weights, in training or in validation as [`Weights::training`] says.
    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss;

    /// Records what follows a training step, such as keeping count of losses.
    fn after(&self, _t: &mut Tape, _loss: Loss) {}

    /// The denoiser with its weights in the memory `slab`; `None` for a model that is none.
    fn denoiser<'a>(&'a self, _slab: &'a str) -> Option<Denoiser<'a>> {
        None
    }

    /// Scheduler of a denoiser, as a checkpoint keeps it.
    fn scheduler(&self) -> Option<SchedulerConfig> {
        None
    }

    /// Fills in what a checkpoint says of this objective.
    fn complete(&self, _card: &mut CheckpointMetadata) {}

    /// Whether [`Objective::draw`] gives something.
    fn draws(&self) -> bool {
        true
    }

    /// Samples from noise to image as columns of a strip, the last of them done; `None` for a model that draws nothing.
    ///
    /// # Errors
    /// The device's.
    fn draw(
        &self,
        _ctx: &mut Context,
        _config: &Config,
        _drawing: &Drawing<'_>,
    ) -> Result<Option<Vec<Images<'static>>>> {
        Ok(None)
    }

    /// Bits a dimension of images with the weights in the memory `slab`; `None` where they cannot be measured in seconds.
    ///
    /// # Errors
    /// The device's.
    fn bits(
        &self,
        _ctx: &mut Context,
        _images: LabeledImages<'_>,
        _slab: &str,
        _config: &Config,
    ) -> Result<Option<f64>> {
        Ok(None)
    }

    /// (a, b) of a_t x_0 + b_t eps at equally spaced training times, for the strip of the forward process; none for a model without.
    fn forward_process(&self, _columns: u32) -> Vec<[f32; 2]> {
        vec![]
    }

    /// Of the validation's other results, by name ([`Tape::keep`]): a line for the user.
    ///
    /// # Errors
    /// The device's.
    fn judge(&self, _ctx: &Context, _count: usize) -> Result<Option<(&'static str, f64)>> {
        Ok(None)
    }
}
