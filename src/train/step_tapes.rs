//! The tapes of a run: one training step, and the losses of a batch of validation images.

use super::buffers::{EMA, FIRST_MOMENT, LOG, SECOND_MOMENT, VALIDATION_LOSS, VALIDATION_TIMESTEPS};
use super::device_log;
use super::objective::{Batch, Loss};
use super::trainer::Trainer;
use crate::Result;
use crate::nn::{GRADIENTS, PARAMETERS, statistics_of};
use crate::ops::{
    Adam, AdamState, BatchPart, GatherBatch, IndexOrder, SampleIndices, adam, affine, ema, embedding, fill,
    gather_batch, gradient_norm, log_step, sample_indices,
};
use crate::tape::{Shape, Tape, Tensor};

impl Trainer {
    /// The tape of one training step: batch, loss, gradients, clipping, AdamW, EMA, log.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for streamed images whose buffers the device
    /// cannot bind.
    pub fn training_tape(&self) -> Result<Tape> {
        self.check_stream()?;
        let mut tape = Tape::on(&self.ctx);
        self.record_training(&mut tape);
        Ok(tape)
    }

    /// Refuses streamed images whose buffers the device cannot bind. Called before a step is
    /// recorded.
    pub(super) fn check_stream(&self) -> Result<()> {
        self.loader.check_stream(&self.config, self.dataset.pixels() as u64, self.ctx.gpu.max_binding())
    }

    /// Records one training step as it runs. Returns the number of calls up to the gradient.
    pub(super) fn record_training(&self, t: &mut Tape) -> usize {
        t.sum_late();
        self.record_step(t)
    }

    /// Records one training step. Returns the number of calls up to the gradient.
    pub(super) fn record_step(&self, t: &mut Tape) -> usize {
        let (config, part) = (&self.config, self.ranks.part);
        let parameters = self.objective.model().parameters();
        let indices = SampleIndices { batch: part.count, count: self.training_images(), order: self.loader.order() };
        let index = sample_indices(t, indices);
        let stored = self.loader.training(t, &self.dataset);
        let (images, labels) =
            gather_batch(t, stored.pixels, stored.labels, index, self.gather(self.loader.random_flip()));

        let weights = parameters.trained(t);
        let loss = self.objective.loss(t, &weights, Batch { images, labels, part });
        let dloss = loss_gradient(t, loss, part);
        t.backward(loss.loss, dloss);
        let loss = self.ranks.join(t, loss);
        let gradient_calls = t.calls().len();
        self.objective.post_step(t, loss);

        let shape = parameters.flat_shape();
        let [p, g, m, v, average] =
            [PARAMETERS, GRADIENTS, FIRST_MOMENT, SECOND_MOMENT, EMA].map(|name| t.named(name, shape));
        let norm = gradient_norm(t, g, config.max_grad_norm);
        let options = Adam {
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        };
        adam(t, AdamState { p, g, m, v }, norm, options);
        ema(t, average, p);
        if let Some(shape) = parameters.statistics() {
            let [statistics, average] = [PARAMETERS, EMA].map(|name| t.named(&statistics_of(name), shape));
            ema(t, average, statistics);
        }
        let log = t.named(LOG, device_log::shape(config.batch));
        log_step(t, loss.loss, loss.time, norm, log);
        gradient_calls
    }

    /// The tape of the losses of this rank's part of a batch of validation images, with the EMA
    /// weights.
    pub(super) fn validation_tape(&self) -> Tape {
        let mut tape = Tape::on(&self.ctx);
        self.record_validation(&mut tape);
        tape
    }

    /// Records the losses of this rank's part of a batch of validation images.
    pub(super) fn record_validation(&self, t: &mut Tape) {
        let (config, part) = (&self.config, self.ranks.part);
        let stored = self.loader.validation(t, &self.dataset, self.training_images());
        let order = IndexOrder::Consecutive { first: stored.first };
        let index = sample_indices(t, SampleIndices { batch: part.count, count: config.validation_count, order });
        let (images, labels) = gather_batch(t, stored.pixels, stored.labels, index, self.gather(false));
        let weights = self.objective.model().parameters().fixed(t, EMA);
        let loss = self.objective.loss(t, &weights, Batch { images, labels, part });
        t.keep(loss.loss, VALIDATION_LOSS);
        t.keep(loss.time, VALIDATION_TIMESTEPS);
    }

    fn gather(&self, flip: bool) -> GatherBatch {
        let [channels, height, width] = self.dataset.shape();
        GatherBatch { channels, height, width, flip }
    }
}

/// Derivative of the mean loss of the whole batch with respect to the loss of each image of a part,
/// `[B]`: the image's weight divided by the size of the whole batch.
fn loss_gradient(t: &mut Tape, loss: Loss, part: BatchPart) -> Tensor {
    let mean = 1.0 / part.whole as f32;
    let Some(weights) = loss.weights else {
        return fill(t, mean, Shape::f32([part.count]));
    };
    let rows = t.reshape(weights, Shape::f32([t.shape(weights).len() as u32, 1]));
    let weight = embedding(t, loss.time, rows);
    let weight = affine(t, weight, mean, 0.0);
    t.reshape(weight, Shape::f32([part.count]))
}
