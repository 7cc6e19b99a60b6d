//! Training objectives: a model and its training loss, and optionally samples, likelihoods and a
//! metric.
//!
//! Training needs only [`Objective`]. Capabilities that not every model has are separate traits:
//! [`Generative`], [`BitsPerDim`] and [`ValidationMetric`]. An objective returns the ones that its
//! model has.

use super::config::Config;
use crate::Result;
use crate::checkpoint::{CheckpointMetadata, SchedulerConfig};
use crate::diffusion::autoencoder::TrainingImages;
use crate::diffusion::latent_prior::Mixture;
use crate::diffusion::{Denoiser, Sampling};
use crate::gpu::Context;
use crate::metrics::likelihood::LabeledImages;
use crate::nn::{Model, Weights};
use crate::ops::BatchPart;
use crate::output::Images;
use crate::tape::{Tape, Tensor};
use std::fmt::Debug;
use std::sync::atomic::AtomicBool;

/// A batch of images on a tape, or the part of a batch that this rank trains on.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The images in [-1, 1], `[B, C, H, W]`.
    pub images: Tensor,
    /// The classes of the images, u32 `[B]`.
    pub labels: Tensor,
    /// Which B images of the whole batch they are.
    pub part: BatchPart,
}

/// The loss of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The loss of each image, `[B]`.
    pub loss: Tensor,
    /// The index of each image's training time, u32 `[B]`.
    pub time: Tensor,
    /// Weight of each training time in the mean over the batch, `[T]`. `None` for equal weights.
    pub weights: Option<Tensor>,
}

/// Named buffers with their values.
pub type Tables = Vec<(&'static str, Vec<f32>)>;

/// A model and its training loss.
pub trait Objective: Debug {
    /// The model.
    fn model(&self) -> &dyn Model;

    /// One line that describes the objective.
    fn describe(&self) -> String;

    /// Warnings for the user before training.
    fn warnings(&self) -> Vec<String> {
        vec![]
    }

    /// Number T of training times. The log averages the loss over each quarter of them.
    fn num_times(&self) -> u32 {
        1
    }

    /// Named buffers that training does not change.
    fn tables(&self) -> Tables {
        vec![]
    }

    /// Named buffers, in addition to the model's, that training changes, with their initial values.
    /// Checkpoints contain them.
    fn state(&self) -> Tables {
        vec![]
    }

    /// Records the loss of a batch. [`Weights::training`] distinguishes training from validation.
    fn loss(&self, t: &mut Tape, weights: &Weights, batch: Batch) -> Loss;

    /// Records calls after the gradients of a training step, such as an update of the state. `loss`
    /// has the losses and times of the whole batch, also if several ranks divided it.
    fn post_step(&self, _t: &mut Tape, _loss: Loss) {}

    /// Fills in the parts of a checkpoint's metadata that depend on the objective.
    fn fill_metadata(&self, _metadata: &mut CheckpointMetadata) {}

    /// The scheduler to store in a checkpoint. `None` for a model without discrete timesteps.
    fn scheduler(&self) -> Option<SchedulerConfig> {
        None
    }

    /// The interface for sampling images. `None` if the model does not generate images.
    fn generative(&self) -> Option<&dyn Generative> {
        None
    }

    /// The interface for measuring likelihoods. `None` if the model has no likelihood that can be
    /// measured in seconds.
    fn bits_per_dim(&self) -> Option<&dyn BitsPerDim> {
        None
    }

    /// A validation metric in addition to the loss.
    fn validation_metric(&self) -> Option<&dyn ValidationMetric> {
        None
    }
}

/// A model that generates images.
pub trait Generative {
    /// Samples images. Returns `request.snapshots` intermediate results, beginning with noise, and
    /// the finished images as the last element.
    ///
    /// # Errors
    /// Settings that the sampler does not support.
    fn sample(&self, ctx: &mut Context, config: &Config, request: &SampleRequest<'_>) -> Result<Vec<Images<'static>>>;

    /// The denoiser with the weights in the buffer `weights`. `None` for a model that is not a
    /// denoiser.
    fn denoiser<'a>(&'a self, _weights: &'a str) -> Option<Denoiser<'a>> {
        None
    }

    /// The sampler's settings. `None` for a model without a sampler.
    fn sampling(&self) -> Option<Sampling> {
        None
    }

    /// Components of the mixture that the latents of samples are drawn from after training; 0 for
    /// N(0, 1), and for a model without latents.
    fn latent_components(&self) -> u32 {
        0
    }

    /// Fits this mixture to the latents of training images, with the weights in the buffer `weights`.
    /// Only called if it has components.
    ///
    /// # Errors
    /// [`Error::NonFinite`](crate::Error::NonFinite) for a model that diverged.
    fn fit_latents(&self, _ctx: &mut Context, _weights: &str, _images: TrainingImages<'_>) -> Result<Mixture> {
        unreachable!("the latents have no components")
    }

    /// (a, b) of the noised images a x0 + b eps at equally spaced training times. Empty for a model
    /// without noise.
    fn forward_process(&self, _columns: u32) -> Vec<[f32; 2]> {
        vec![]
    }
}

/// Which images to sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleRequest<'a> {
    /// Name of the buffer that holds the weights.
    pub weights: &'a str,
    /// One label per image.
    pub labels: &'a [u32],
    /// Index of the first image. The noise depends on the seed and the index.
    pub first: u32,
    /// Prefix for the names of the sampler's buffers.
    pub name: &'a str,
    /// The mixture that an autoencoder's latents are drawn from; `None` for N(0, 1).
    pub latents: Option<&'a Mixture>,
    /// Number of intermediate results to return.
    pub snapshots: u32,
    /// If it is set, sampling stops with [`Error::Interrupted`](crate::Error::Interrupted).
    pub stop: &'a AtomicBool,
}

/// Which images to measure.
#[derive(Clone, Copy, Debug)]
pub struct LikelihoodRequest<'a> {
    /// Name of the buffer that holds the weights.
    pub weights: &'a str,
    /// The images.
    pub images: LabeledImages<'a>,
    /// If it is set, measuring stops with [`Error::Interrupted`](crate::Error::Interrupted).
    pub stop: &'a AtomicBool,
}

/// A model whose likelihood can be measured in seconds.
pub trait BitsPerDim {
    /// Bits per dimension of images.
    ///
    /// # Errors
    /// Errors of the device, such as too little memory.
    fn measure(&self, ctx: &mut Context, config: &Config, request: &LikelihoodRequest<'_>) -> Result<f64>;
}

/// A metric computed from tensors that the validation loss keeps in named buffers ([`Tape::keep`]).
pub trait ValidationMetric {
    /// Its name in the log, such as `accuracy`.
    fn name(&self) -> &'static str;

    /// The mean over the first `count` images of the last validation batch.
    ///
    /// # Errors
    /// A buffer that was not kept.
    fn measure(&self, ctx: &Context, count: usize) -> Result<f64>;
}
