//! The traits of models, which training, sampling and checkpoints use.

use super::parameters::{Parameters, Weights};
use crate::Result;
use crate::ops::embedding;
use crate::tape::{Shape, Tape, Tensor};
use std::fmt::Debug;

/// A model: named parameters and a configuration, both stored in checkpoints.
pub trait Model: Debug {
    /// Its name in `config.json` (`_class_name`).
    fn class(&self) -> &'static str;

    /// The content of its `config.json`.
    fn config_json(&self) -> String;

    /// Its parameters.
    fn parameters(&self) -> &Parameters;

    /// Shape `[C, H, W]` of the images that it was configured for; `None` if the config gives none.
    fn image_shape(&self) -> Option<[u32; 3]>;

    /// The height and width to which it pads images of a height and width for its levels. Its
    /// output has the size of the images.
    fn padded_size(&self, size: [u32; 2]) -> [u32; 2] {
        size
    }
}

/// A named buffer with the time features of `rows` times: [`Network::time_table`].
#[derive(Clone, Copy, Debug)]
pub struct TimeTable<'a> {
    /// Name of the buffer.
    pub name: &'a str,
    /// Number of times.
    pub rows: u32,
}

/// Inputs of a network next to the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Features of the time, `[B, width]`: rows of [`Network::time_table`].
    pub time: Option<Tensor>,
    /// Classes, u32 `[B]`.
    pub labels: Option<Tensor>,
}

impl Conditions {
    /// Records the time features of a batch: the rows `index` (u32 `[B]`) of the table, or nothing
    /// for a network without time. The table must be written before the tape runs. `labels` are u32
    /// `[B]`.
    pub fn record(
        t: &mut Tape,
        network: &dyn Network,
        index: Tensor,
        table: TimeTable<'_>,
        labels: Option<Tensor>,
    ) -> Conditions {
        let width = network.time_width();
        let mut time = None;
        if width > 0 {
            let rows = t.named(table.name, Shape::f32([table.rows, width]));
            time = Some(embedding(t, index, rows));
        }
        Conditions { time, labels }
    }

    /// The time features, for a model that takes them.
    ///
    /// # Panics
    /// If they are missing, or given to a model that does not take them.
    #[track_caller]
    pub(super) fn time(self, told: bool) -> Option<Tensor> {
        match (told, self.time) {
            (true, None) => panic!("this model needs the time, but none is given"),
            (false, Some(_)) => panic!("a time is given, but this model does not take it"),
            (_, time) => time,
        }
    }

    /// The labels, for a model with classes.
    ///
    /// # Panics
    /// If they are missing, or given to a model without classes.
    #[track_caller]
    pub(super) fn labels(self, known: bool) -> Option<Tensor> {
        match (known, self.labels) {
            (true, None) => panic!("the model has classes, but no labels are given"),
            (false, Some(_)) => panic!("labels are given, but the model has no classes"),
            (_, labels) => labels,
        }
    }
}

/// A model that takes a (noisy) image: a denoiser, or a classifier.
pub trait Network: Model {
    /// Channels of the input image and of the output.
    fn channels(&self) -> [u32; 2];

    /// Number of time features; 0 for a network that does not depend on the time.
    fn time_width(&self) -> u32;

    /// Time features at `time`: the timestep itself for discrete processes, the process's
    /// `Parameterization::time` otherwise.
    fn time_row(&self, time: f64) -> Vec<f64>;

    /// Number of classes, including a null class; `None` for an unconditional network.
    fn classes(&self) -> Option<u32>;

    /// Checks that it supports images of a size.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config), with the sizes that it supports.
    fn check_size(&self, height: u32, width: u32) -> Result<()>;

    /// Records the network for images x `[B, C, H, W]`. Layers that behave differently in training
    /// (dropout, batch normalization) follow [`Weights::training`].
    ///
    /// Conditions of 2B images are the conditions of two passes over the same x, as classifier-free
    /// guidance needs them. The result is `[2B, ...]`. There is no gradient.
    ///
    /// # Panics
    /// If the size does not fit, if a condition is missing or superfluous, or if conditions of two
    /// passes are given and a gradient is needed.
    #[track_caller]
    fn forward(&self, t: &mut Tape, w: &Weights, x: Tensor, conditions: Conditions) -> Tensor;

    /// The time features of many times, one row per time: the contents of a [`TimeTable`].
    fn time_table(&self, times: &[f64]) -> Vec<f32> {
        times.iter().flat_map(|&time| self.time_row(time)).map(|x| x as f32).collect()
    }
}
