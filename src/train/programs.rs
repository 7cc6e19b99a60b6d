//! The programs of training: one step, and the validation loss.

use super::settings::Config;
use crate::Result;
use crate::data::Dataset;
use crate::diffusion::{Labels, NoiseSchedule, SamplerName, SamplerOptions, SchedulerConfig, Target as Goal};
use crate::gpu::{Gpu, Memory, Target};
use crate::nn::{PARAMETERS, TIME_TABLE, UNet2d};
use crate::ops::{adam, average, batch, choose, drop_label, fill, gradient_norm, mix, mse, noise, record, timesteps};
use crate::tape::{Shape, Tape, Tensor, purpose};

/// Rows of the log on the device: how far the host may lag behind.
pub const LOG_ROWS: u32 = 64;
/// Memory of the moving average of the parameters.
pub const AVERAGE: &str = "average";
/// Memory of Adam's moments.
pub const MOMENTS: [&str; 2] = ["adam.first", "adam.second"];
/// Memory of the log.
pub const LOG: &str = "log";
/// Memory of the validation's losses and time steps.
pub const VALIDATION: [&str; 2] = ["validation.loss", "validation.timesteps"];

const NOISING: &str = "schedule.noising";
const VELOCITY: &str = "schedule.velocity";
const WEIGHTS: &str = "schedule.weights";

/// What the programs are recorded for.
pub struct Job<'a> {
    /// The settings of the run.
    pub config: &'a Config,
    /// The model.
    pub unet: &'a UNet2d,
    /// The images.
    pub dataset: &'a Dataset,
    /// The noise.
    pub schedule: &'a NoiseSchedule,
}

impl Job<'_> {
    /// Schedule, prediction and sampler as a checkpoint and the pictures use them.
    pub fn scheduler(&self) -> SchedulerConfig {
        let config = self.config;
        SchedulerConfig {
            schedule: config.noise(),
            steps: config.timesteps,
            zero_terminal_snr: false,
            prediction: config.prediction,
            clip: Some(1.0),
            spacing: config.spacing,
            steps_offset: 0,
            sampler: config.sampler,
            options: match config.sampler {
                SamplerName::Ddim => {
                    SamplerOptions { use_clipped_model_output: Some(true), ..SamplerOptions::default() }
                }
                SamplerName::Ddpm => SamplerOptions::default(),
            },
        }
    }

    /// Images that are trained on: all but those held back.
    pub fn training_images(&self) -> u32 {
        self.dataset.count as u32 - self.config.holdout
    }

    /// What the model knows of labels; `None` for one without.
    pub fn labels(&self) -> Option<Labels> {
        (!self.config.unconditional)
            .then_some(Labels { classes: self.dataset.classes as u32, dropout: self.config.label_dropout })
    }

    /// Writes what never changes: the data set, the tables of schedule and time embedding.
    ///
    /// # Errors
    /// Out of memory, or a data set larger than the device's bindings.
    pub fn load(&self, gpu: &Gpu, memory: &mut Memory) -> Result<()> {
        let mut pixels = self.dataset.images.clone();
        pixels.resize(pixels.len().next_multiple_of(16), 0);
        let prediction = self.config.prediction;
        let mut tables = vec![
            (NOISING, self.schedule.noising_table().concat()),
            (WEIGHTS, self.config.loss_weighting.weights(prediction, self.schedule)?),
        ];
        if let Goal::Velocity(table) = prediction.target(self.schedule)? {
            tables.push((VELOCITY, table.concat()));
        }
        let mut put = |name: &str, bytes: &[u8]| {
            memory.require(gpu, name, (bytes.len() as u64).next_multiple_of(16))?;
            memory.write(gpu, name, 0, bytes)
        };
        put("data.images", &pixels)?;
        put("data.labels", bytemuck::cast_slice(&self.dataset.labels))?;
        put(TIME_TABLE, bytemuck::cast_slice(&self.unet.time_table()))?;
        tables.iter().try_for_each(|(name, table)| put(name, bytemuck::cast_slice(table)))
    }

    /// One training step: batch, noise, network, loss, gradients, clipping, AdamW, average, log.
    ///
    /// # Errors
    /// A prediction that does not go with the schedule (see [`crate::diffusion::Prediction::check`]).
    pub fn training(&self, target: Target) -> Result<Tape> {
        let (config, parameters) = (self.config, self.unet.parameters());
        let mut tape = Tape::new(target);
        let t = &mut tape;
        let count = self.training_images();
        let image = choose::choose(t, choose::Choose { batch: config.batch, count, order: choose::Order::Permuted });
        let (loss, time) = self.loss(t, image, Some(config.label_dropout))?;
        let dloss = fill::fill(t, 1.0 / config.batch as f32, Shape::f32([config.batch]));
        t.backward(loss, dloss);

        let slab = parameters.slab();
        let [p, g, m, v, a] =
            [PARAMETERS, crate::nn::GRADIENTS, MOMENTS[0], MOMENTS[1], AVERAGE].map(|name| t.memory(name, slab));
        let norm = gradient_norm::gradient_norm(t, g, config.clip);
        let Config { beta1, beta2, epsilon, weight_decay, .. } = *config;
        adam::adam(t, [p, g, m, v], norm, adam::Adam { beta1, beta2, epsilon, weight_decay });
        average::average(t, a, p);
        let log = t.memory(LOG, Shape::f32([LOG_ROWS, 4 + 2 * config.batch]));
        record::record(t, loss, time, norm, log);
        Ok(tape)
    }

    /// The losses of a batch of held-back images with the averaged weights, put into the memories `validation.loss` and `validation.timesteps`.
    ///
    /// # Errors
    /// As [`Job::training`].
    pub fn validation(&self, target: Target) -> Result<Tape> {
        let config = self.config;
        let mut tape = Tape::new(target);
        let t = &mut tape;
        let held_back = choose::Choose {
            batch: config.batch,
            count: config.holdout,
            order: choose::Order::Consecutive { first: self.training_images() },
        };
        let image = choose::choose(t, held_back);
        let (loss, time) = self.loss(t, image, None)?;
        t.keep(loss, VALIDATION[0]);
        t.keep(time, VALIDATION[1]);
        Ok(tape)
    }

    /// The loss of each image, and its time step. With label dropout the parameters are trained, without it averaged ones are read.
    fn loss(&self, t: &mut Tape, image: Tensor, label_dropout: Option<f32>) -> Result<(Tensor, Tensor)> {
        let (config, data) = (self.config, self.dataset);
        let [channels, height, width] = [data.channels, data.height, data.width].map(|n| n as u32);
        let words = (data.images.len() as u32).div_ceil(4);
        let pixels = t.memory("data.images", Shape::u32([words]));
        let labels = t.memory("data.labels", Shape::u32([data.count as u32]));
        let (x0, label) = batch::batch(t, pixels, labels, image, batch::Batch { channels, height, width });
        let time = timesteps::random_timesteps(t, config.batch, config.timesteps);
        let e = noise::noise(t, purpose::NOISE, t.shape(x0));
        let table = |t: &mut Tape, name| t.memory(name, Shape::f32([config.timesteps, 2]));
        let noising = table(t, NOISING);
        let x = mix::mix(t, x0, e, noising, time);
        let goal = match config.prediction.target(self.schedule)? {
            Goal::Noise => e,
            Goal::Image => x0,
            Goal::Velocity(_) => {
                let velocity = table(t, VELOCITY);
                mix::mix(t, x0, e, velocity, time)
            }
        };
        let weights = match label_dropout {
            Some(_) => self.unet.parameters().trained(t),
            None => self.unet.parameters().fixed(t, AVERAGE),
        };
        let label = self.labels().map(|labels| match (label_dropout, labels.null_class()) {
            (Some(rate), Some(none)) => drop_label::drop_label(t, label, drop_label::DropLabel { none, rate }),
            _ => label,
        });
        let prediction = self.unet.forward(t, &weights, x, time, label);
        let w = t.memory(WEIGHTS, Shape::f32([config.timesteps]));
        Ok((mse::mse(t, prediction, goal, w, time), time))
    }
}
