//! The programs of training: one step, and the validation loss.

use super::data_loader::DataLoader;
use super::objective::{Batch, Objective};
use super::settings::Config;
use crate::Result;
use crate::data::Dataset;
use crate::gpu::{Context, Target};
use crate::nn::{PARAMETERS, statistics_of};
use crate::ops::{adam, affine, ema, embedding, fill, gather_batch, gradient_norm, log_step, sample_indices};
use crate::tape::{Shape, Tape};

/// Rows of the log on the device: how far the host may lag behind.
pub const LOG_ROWS: u32 = 64;
/// Memory of the moving average of the parameters.
pub const EMA: &str = "average";
/// Memory of Adam's moments.
pub const MOMENTS: [&str; 2] = ["adam.first", "adam.second"];
/// Memory of the log.
pub const LOG: &str = "log";
/// Memory of the validation's losses and time steps.
pub const VALIDATION: [&str; 2] = ["validation.loss", "validation.timesteps"];

/// What the programs are recorded for.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The settings of the run.
    pub config: &'a Config,
    /// What is trained, and for what.
    pub objective: &'a dyn Objective,
    /// The images.
    pub dataset: &'a Dataset,
    /// How they reach the device.
    pub loader: &'a DataLoader,
}

impl Job<'_> {
    /// Images that are trained on: all but those held back.
    pub fn training_images(&self) -> u32 {
        self.dataset.count as u32 - self.config.validation_count
    }

    /// Writes what never changes: the data set, the tables of the objective. Its state gets its first values.
    ///
    /// # Errors
    /// Out of memory.
    pub fn load(&self, ctx: &mut Context) -> Result<()> {
        self.loader.load(ctx, self.dataset, self.training_images())?;
        for (name, table) in self.objective.constants().into_iter().chain(self.objective.state()) {
            let bytes = size_of_val(&table[..]) as u64;
            ctx.require(name, bytes.next_multiple_of(16))?;
            ctx.write(name, 0, &table)?;
        }
        Ok(())
    }

    /// One training step: batch, loss, gradients, clipping, AdamW, average, log.
    pub fn training(&self, target: Target) -> Tape {
        let (config, parameters) = (self.config, self.objective.model().parameters());
        let mut tape = Tape::new(target);
        let t = &mut tape;
        let order = self.loader.order();
        let count = self.training_images();
        let image = sample_indices(t, sample_indices::SampleIndices { batch: config.batch, count, order });
        let images = self.loader.training(t, self.dataset);
        let (x0, labels) =
            gather_batch(t, images.pixels, images.labels, image, self.pictures(self.loader.random_flip()));
        let weights = parameters.trained(t);
        let loss = self.objective.loss(t, &weights, Batch { images: x0, labels });
        let mean = 1.0 / config.batch as f32;
        let dloss = match loss.weights {
            None => fill(t, mean, Shape::f32([config.batch])),
            Some(weights) => {
                let rows = t.reshape(weights, Shape::f32([t.shape(weights).len() as u32, 1]));
                let weight = embedding(t, loss.time, rows);
                let weight = affine(t, weight, mean, 0.0);
                t.reshape(weight, Shape::f32([config.batch]))
            }
        };
        t.backward(loss.loss, dloss);
        self.objective.after(t, loss);

        let slab = parameters.slab();
        let [p, g, m, v, a] =
            [PARAMETERS, crate::nn::GRADIENTS, MOMENTS[0], MOMENTS[1], EMA].map(|name| t.named(name, slab));
        let norm = gradient_norm(t, g, config.max_grad_norm);
        let Config { beta1, beta2, adam_epsilon: epsilon, weight_decay, .. } = *config;
        adam(t, [p, g, m, v], norm, adam::Adam { beta1, beta2, epsilon, weight_decay });
        ema(t, a, p);
        if let Some(shape) = parameters.statistics() {
            let [p, a] = [PARAMETERS, EMA].map(|name| t.named(&statistics_of(name), shape));
            ema(t, a, p);
        }
        let log = t.named(LOG, Shape::f32([LOG_ROWS, log_step::row_width(config.batch)]));
        log_step(t, loss.loss, loss.time, norm, log);
        tape
    }

    /// The losses of a batch of held-back images with the averaged weights, put into the memories `validation.loss` and `validation.timesteps`.
    pub fn validation(&self, target: Target) -> Tape {
        let config = self.config;
        let mut tape = Tape::new(target);
        let t = &mut tape;
        let images = self.loader.held_back(t, self.dataset, self.training_images());
        let order = sample_indices::Order::Consecutive { first: images.first };
        let image = sample_indices(
            t,
            sample_indices::SampleIndices { batch: config.batch, count: config.validation_count, order },
        );
        let (x0, labels) = gather_batch(t, images.pixels, images.labels, image, self.pictures(false));
        let weights = self.objective.model().parameters().fixed(t, EMA);
        let loss = self.objective.loss(t, &weights, Batch { images: x0, labels });
        t.keep(loss.loss, VALIDATION[0]);
        t.keep(loss.time, VALIDATION[1]);
        tape
    }

    fn pictures(&self, flip: bool) -> gather_batch::GatherBatch {
        let [channels, height, width] = self.dataset.shape();
        gather_batch::GatherBatch { channels, height, width, flip }
    }
}
