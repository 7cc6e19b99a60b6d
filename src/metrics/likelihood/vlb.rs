//! The variational lower bound (VLB) of a process with discrete timesteps, as an upper bound of
//! bits per dimension (Ho et al. 2020, eq. 5):
//!
//! ```text
//! L_T                        KL(q(x_T | x_0) || N(0, 1)), in closed form
//! sum of L_t, t = 1 .. T-1   KL(q(x_t-1 | x_t, x_0) || p(x_t-1 | x_t)), estimated at random t
//! L_0                        -log p(x_0 | x_1) of the discretized decoder (eq. 13)
//! ```
//!
//! Most of the sum is at small t. So half of the timesteps are drawn in proportion to 1/t and half
//! uniformly, and each term is divided by its probability, which keeps the estimate unbiased. The
//! draws are stratified: they are multiples of the golden ratio, shifted by the seed. If as many
//! draws are requested as there are timesteps, every timestep is used once.

use super::{BitsPerDimension, Draws, LabeledImages, sum_of_parts};
use crate::diffusion::variational::table;
use crate::diffusion::{Denoiser, Scope, TrainingTables, Variance};
use crate::gpu::Context;
use crate::metrics::padding::{ImagePadding, pixel_value};
use crate::nn::{Conditions, TimeTable};
use crate::ops::{VlbInputs, q_sample, randn, split_channels, vlb};
use crate::ranks::divide;
use crate::rng::{key, philox};
use crate::tape::{Program, Shape, Step, record, stream};
use crate::{Error, Result};
use std::f64::consts::LN_2;

/// Measures the VLB of a denoiser.
pub struct VlbEstimator {
    program: Program,
    padding: ImagePadding,
    batch: usize,
    scope: Scope,
    /// Variances of the reverse process to measure.
    variances: Vec<Variance>,
    /// alphas_cumprod of the last timestep.
    last_alpha_bar: f64,
    /// Probability and cumulative probability of each timestep 1 .. T-1.
    probabilities: Vec<[f64; 2]>,
    has_labels: bool,
}

impl VlbEstimator {
    /// Records and compiles the bound for a model whose weights are on the device. Names of its
    /// buffers begin with `name`.
    ///
    /// # Errors
    /// [`Error::Config`] for a process in continuous time.
    pub fn new(
        ctx: &mut Context,
        model: &Denoiser<'_>,
        padding: ImagePadding,
        batch: u32,
        name: &str,
    ) -> Result<VlbEstimator> {
        let Some(schedule) = model.process.schedule() else {
            let process = model.process.describe();
            return Err(Error::Config(format!("{process}: the variational bound needs discrete timesteps")));
        };
        let variances = if model.spec.learned_variance {
            vec![Variance::LearnedRange]
        } else {
            vec![Variance::FixedSmall, Variance::FixedLarge]
        };
        let timesteps = schedule.timesteps();
        let tables = TrainingTables::new(model.process);
        let [channels, height, width] = padding.model_shape();
        let scope = Scope::new(name);
        let named = |part: &str| scope.name(part);
        let (tape, ()) = record(ctx, |t| {
            let x0 = t.named(&named("x0"), Shape::f32([batch, channels, height, width]));
            let timestep = t.named(&named("timesteps"), Shape::u32([batch]));
            let eps = randn(t, stream::NOISE, t.shape(x0));
            let input_factors = t.named(&named("input_factors"), Shape::f32([timesteps, 2]));
            let x = q_sample(t, x0, eps, input_factors, timestep);
            let labels = model.network.classes().map(|_| t.named(&named("labels"), Shape::u32([batch])));
            let time = TimeTable { name: &named("time"), rows: timesteps };
            let conditions = Conditions::record(t, model.network, timestep, time, labels);
            let weights = model.network.parameters().fixed(t, model.weights);
            let output = model.network.forward(t, &weights, x, conditions);
            let output = padding.record_crop(t, output);
            let x0 = padding.record_crop(t, x0);
            let x = padding.record_crop(t, x);
            let [mean, variance] = if model.spec.learned_variance {
                split_channels(t, output)
            } else {
                // `vlb` always reads a variance. If it is fixed, its weight in the table is 0.
                [output, output]
            };
            for number in 0..variances.len() {
                let table = t.named(&named(&format!("table.{number}")), Shape::f32([timesteps, vlb::COEFFICIENTS]));
                let inputs = VlbInputs { mean_output: mean, variance_output: variance, x0, x_t: x };
                let bits = vlb(t, inputs, table, timestep);
                t.keep(bits, &named(&format!("bits.{number}")));
            }
        })?;
        let program = Program::compile(ctx, &tape)?;
        ctx.write(&named("input_factors"), 0, &tables.input_factors.concat())?;
        ctx.write_if_present(&named("time"), &model.network.time_table(&tables.times))?;
        for (number, &variance) in variances.iter().enumerate() {
            let rows = table(schedule, model.process, variance, model.spec.decoder_min_std).concat();
            ctx.write(&named(&format!("table.{number}")), 0, &rows)?;
        }
        Ok(VlbEstimator {
            program,
            padding,
            batch: batch as usize,
            scope,
            variances,
            last_alpha_bar: schedule.alphas_cumprod().last().copied().unwrap_or(0.0),
            probabilities: probabilities(timesteps),
            has_labels: model.network.classes().is_some(),
        })
    }

    /// Measures images at t = 0 and at `draws.per_image` more timesteps per image, or at all of
    /// them if there are no more. Calls `progress` with the finished share.
    ///
    /// With a fixed variance, both `fixed_small` and `fixed_large` are evaluated and the smaller
    /// bound is returned. It is still a valid bound, and choosing it gains far less than the
    /// standard error.
    ///
    /// # Errors
    /// Errors of the device and of `progress`.
    ///
    /// # Panics
    /// If there are no images, or a model with classes gets images without labels.
    pub fn measure(
        &self,
        ctx: &Context,
        images: LabeledImages<'_>,
        draws: Draws,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<BitsPerDimension> {
        let pixels = self.padding.data_len();
        let rounds = (draws.per_image as usize).min(self.probabilities.len());
        let count = images.bytes.len() / pixels;
        assert!(count > 0 && (!self.has_labels || images.labels.len() == count), "{count} images with labels");
        // For each image and variance: L_0 and the estimated sum of L_t.
        let terms = divide(&*ctx.ranks, count.div_ceil(self.batch), |piece| {
            let first = piece * self.batch;
            let size = self.batch.min(count - first);
            self.write_images(ctx, images, first, size)?;
            let mut terms = vec![[0.0, 0.0]; size * self.variances.len()];
            for round in 0..=rounds {
                let drawn: Vec<(u32, f64)> = (first..first + size)
                    .map(|image| match round {
                        0 => (0, 1.0),
                        _ if rounds == self.probabilities.len() => (round as u32, 1.0 / rounds as f64),
                        _ => self.draw_timestep(image * rounds + round - 1, draws.seed),
                    })
                    .collect();
                let times: Vec<u32> = (0..self.batch).map(|i| drawn[i.min(size - 1)].0).collect();
                ctx.write(&self.scope.name("timesteps"), 0, &times)?;
                let step = Step { index: round as u32, first_image: first as u32, ..Step::seeded(draws.seed) };
                self.program.run(ctx, &step)?;
                for number in 0..self.variances.len() {
                    let bits: Vec<f32> = ctx.read(&self.scope.name(&format!("bits.{number}")), 0, size)?;
                    for (i, (bits, (_, probability))) in bits.into_iter().zip(&drawn).enumerate() {
                        let [at_zero, rest] = &mut terms[i * self.variances.len() + number];
                        match round {
                            0 => *at_zero = f64::from(bits),
                            _ => *rest += f64::from(bits) / (probability * rounds as f64),
                        }
                    }
                }
            }
            progress((first + size) as f64 / count as f64)?;
            Ok(terms)
        })?;
        let prior: Vec<f64> = images.bytes.chunks(pixels).map(|image| self.prior(image)).collect();
        let all = self.variances.iter().enumerate().map(|(number, variance)| {
            let of_variance = || terms.iter().skip(number).step_by(self.variances.len());
            let [at_zero, rest] = [0, 1].map(|term| of_variance().map(|terms| terms[term]).collect::<Vec<f64>>());
            sum_of_parts(method(*variance), &[("L_T", prior.clone()), ("sum of L_t", rest), ("L_0", at_zero)])
        });
        Ok(all.min_by(|a, b| a.total.value.total_cmp(&b.total.value)).expect("at least one variance"))
    }

    fn write_images(&self, ctx: &Context, images: LabeledImages<'_>, first: usize, size: usize) -> Result<()> {
        let pixels = self.padding.data_len();
        let padded = self.padding.pad(&images.bytes[first * pixels..][..size * pixels]);
        ctx.write(&self.scope.name("x0"), 0, &padded)?;
        if self.has_labels {
            ctx.write(&self.scope.name("labels"), 0, &images.labels[first..first + size])?;
        }
        Ok(())
    }

    /// L_T of an image in bits per dimension: the mean over pixels of
    /// (alpha_bar x² - alpha_bar - log(1 - alpha_bar)) / 2 nats.
    fn prior(&self, image: &[u8]) -> f64 {
        let square = image.iter().map(|&byte| f64::from(pixel_value(byte)).powi(2)).sum::<f64>() / image.len() as f64;
        0.5 * (self.last_alpha_bar * (square - 1.0) - (-self.last_alpha_bar).ln_1p()) / LN_2
    }

    /// The `number`-th random timestep and its probability.
    fn draw_timestep(&self, number: usize, seed: u64) -> (u32, f64) {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let shift = f64::from(philox([stream::TIMESTEP, 0, 0, 0], key(seed))[0]) / 2f64.powi(32);
        let u = (shift + number as f64 * GOLDEN).fract();
        let at = self.probabilities.partition_point(|[_, sum]| *sum <= u).min(self.probabilities.len() - 1);
        (at as u32 + 1, self.probabilities[at][0])
    }
}

/// Probability and cumulative probability of each timestep 1 .. T-1.
fn probabilities(timesteps: u32) -> Vec<[f64; 2]> {
    let harmonic: f64 = (1..timesteps).map(|t| 1.0 / f64::from(t)).sum();
    let mut sum = 0.0;
    (1..timesteps)
        .map(|t| {
            let probability = 0.5 / f64::from(timesteps - 1) + 0.5 / (f64::from(t) * harmonic);
            sum += probability;
            [probability, sum]
        })
        .collect()
}

fn method(variance: Variance) -> &'static str {
    match variance {
        Variance::LearnedRange => "variational bound, learned variance",
        Variance::FixedSmall => "variational bound, variance fixed_small",
        Variance::FixedLarge => "variational bound, variance fixed_large",
    }
}
