//! What training, sampling and checkpoints need of a model, whatever it computes.

use super::parameters::{Parameters, Weights};
use crate::Result;
use crate::tape::{Tape, Tensor};
use std::fmt::Debug;

/// Something with named parameters and a configuration, which a checkpoint keeps.
pub trait Model: Debug {
    /// Its name in `config.json` (`_class_name`).
    fn class(&self) -> &'static str;

    /// Its configuration, as `config.json`.
    fn config_json(&self) -> String;

    /// Its parameters.
    fn parameters(&self) -> &Parameters;

    /// Channels, rows and columns of the pictures that it was made for: `[C, H, W]`.
    fn image(&self) -> Option<[u32; 3]>;
}

/// What a network is told besides the picture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Features of the time, `[B, width]`: rows of [`Network::time_table`].
    pub time: Option<Tensor>,
    /// Classes, u32 `[B]`.
    pub labels: Option<Tensor>,
}

impl Conditions {
    /// The time, if the model is told of it.
    ///
    /// # Panics
    /// If it is missing, or too much.
    #[track_caller]
    pub(super) fn time(self, told: bool) -> Option<Tensor> {
        match (told, self.time) {
            (true, None) => panic!("the model must be told the time"),
            (false, Some(_)) => panic!("a time is given, but the model is not told it"),
            (_, time) => time,
        }
    }

    /// The labels, if the model knows classes.
    ///
    /// # Panics
    /// If they are missing, or too much.
    #[track_caller]
    pub(super) fn labels(self, known: bool) -> Option<Tensor> {
        match (known, self.labels) {
            (true, None) => panic!("the model has classes, but no labels are given"),
            (false, Some(_)) => panic!("labels are given, but the model has no classes"),
            (_, labels) => labels,
        }
    }
}

/// A model that makes something of a noisy picture: a denoiser, or a classifier.
pub trait Network: Model {
    /// Channels of the picture that it takes, and of what it answers.
    fn channels(&self) -> [u32; 2];

    /// Numbers that tell it the time; 0 for a network that is not told.
    fn time_width(&self) -> u32;

    /// These numbers at a time: for time steps 0 .. T-1 the step, otherwise what the process says.
    fn time_row(&self, time: f64) -> Vec<f64>;

    /// Number of classes that it is told of, a null class included; `None` if it knows none.
    fn classes(&self) -> Option<u32>;

    /// Whether pictures of a size can pass through.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config): which can.
    fn check_size(&self, height: u32, width: u32) -> Result<()>;

    /// Records the network for pictures x `[B, C, H, W]`. Layers that behave otherwise in training
    /// (dropout, batch normalisation) do as the weights were bound ([`Weights::training`]).
    ///
    /// # Panics
    /// If the size does not fit, or a condition is missing or too much.
    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor;

    /// The rows of many times, one after another: what [`Conditions::time`] is looked up in.
    fn time_table(&self, times: &[f64]) -> Vec<f32> {
        times.iter().flat_map(|&time| self.time_row(time)).map(|x| x as f32).collect()
    }
}
