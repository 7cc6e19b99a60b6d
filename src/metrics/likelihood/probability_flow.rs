//! Likelihood of a process in continuous time by its probability flow ODE (Song et al. 2021,
//! section 4.3 and appendix D.2; Chen et al. 2018), in bits per dimension.
//!
//! Along dx/dt = v(x, t) the log-density changes by -div v (Song et al. 2021, eq. 39):
//!
//! ```text
//! log p(x_0) = log N(x_T; 0, prior std²) + integral of div v dt from the image to noise
//! div v     ~= e · (dv/dx)ᵀ e
//! ```
//!
//! where e is one vector of random signs per image (Hutchinson 1990; Skilling 1989).
//!
//! v is linear in x and in the network's output m: v = a x + b m. So the divergence needs only the
//! gradient of e · m with respect to the network's input, which the tape computes.
//!
//! Bytes are dequantized with uniform noise as wide as their bins, 2/255. This turns the density
//! into an upper bound of the code length of 256 values (Theis et al. 2016, section 3.1). The ODE
//! starts at the smallest time used in training.

use super::{BitsPerDimension, LabeledImages, sum_of_parts};
use crate::diffusion::process::Process;
use crate::diffusion::{Denoiser, Scope, ode};
use crate::gpu::Context;
use crate::metrics::padding::{ImagePadding, pixel_value};
use crate::nn::{Conditions, TimeTable};
use crate::ops::{q_sample, scheduled_timesteps};
use crate::ranks::divide;
use crate::rng::{key, philox};
use crate::tape::{BufferOffset, Program, Shape, Step, record, stream};
use crate::{Error, Result};
use std::f64::consts::{LN_2, TAU};

/// How precisely the ODE is solved.
#[derive(Clone, Copy, Debug)]
pub struct FlowSettings {
    /// Relative and absolute tolerance of the solver.
    pub tolerance: f64,
    /// Seed of the dequantization noise and of the random signs.
    pub seed: u64,
}

/// log2(255 / 2) = 6.994: the bits per dimension of a value with a bin of width 2/255 whose density
/// on [-1, 1] is 1.
pub fn bin_bits() -> f64 {
    (255.0f64 / 2.0).log2()
}

/// Converts a log-density of dequantized images on [-1, 1], in nats per dimension, to bits per
/// dimension.
///
/// ```
/// use degrain::metrics::likelihood::probability_flow::bits_of_log_density;
///
/// // A uniform density over 256 bins of width 2/255 needs 8 bits.
/// let nats = (255.0_f64 / 512.0).ln();
/// assert!((bits_of_log_density(nats) - 8.0).abs() < 1e-12);
/// ```
pub fn bits_of_log_density(nats: f64) -> f64 {
    bin_bits() - nats / LN_2
}

/// Velocity at (t, x), and e · (dv/dx)ᵀ e of each image.
type Field<'a> = dyn FnMut(f64, &[f64]) -> Result<(Vec<f64>, Vec<f64>)> + 'a;

/// The ODE of a batch of images and their log-densities.
struct LikelihoodOde<'a> {
    process: &'a dyn Process,
    images: usize,
    tolerance: f64,
}

impl LikelihoodOde<'_> {
    /// log p(x) of each image in nats per dimension.
    fn solve(&self, field: &mut Field<'_>, x: &[f64], progress: &mut dyn FnMut(f64) -> Result<()>) -> Result<Vec<f64>> {
        let pixels = x.len() / self.images;
        let span = [self.process.t_eps(), self.process.t_range()[0]];
        // The state of an image is its pixels and the integral of the divergence per dimension.
        let state: Vec<f64> = x.chunks(pixels).flat_map(|image| image.iter().copied().chain([0.0])).collect();
        let mut slope = |t: f64, state: &[f64]| {
            let x: Vec<f64> = state.chunks(pixels + 1).flat_map(|row| row[..pixels].iter().copied()).collect();
            let (velocity, divergence) = field(t, &x)?;
            let rows = velocity.chunks(pixels).zip(divergence);
            Ok(rows.flat_map(|(v, div)| v.iter().copied().chain([div / pixels as f64])).collect())
        };
        let settings = ode::Settings {
            relative: self.tolerance,
            absolute: self.tolerance,
            rows: self.images,
            alone: 1,
            advice: "raise --likelihood-tolerance, or leave the likelihood out with --likelihood-images 0",
            ..ode::Settings::default()
        };
        let share = |t: f64| (t - span[0]) / (span[1] - span[0]);
        let end = ode::solve(&mut slope, span, state, settings, &mut |t| progress(share(t)))?.x;
        let variance = self.process.prior_std().powi(2);
        let prior = |x: &[f64]| {
            -0.5 * (x.iter().map(|x| x * x / variance).sum::<f64>() / pixels as f64 + (TAU * variance).ln())
        };
        Ok(end.chunks(pixels + 1).map(|row| prior(&row[..pixels]) + row[pixels]).collect())
    }
}

/// Measures the likelihood of a denoiser's probability flow.
pub struct FlowLikelihood<'a> {
    model: Denoiser<'a>,
    program: Program,
    padding: ImagePadding,
    batch: usize,
    scope: Scope,
}

impl<'a> FlowLikelihood<'a> {
    /// Records and compiles the ODE of a model whose weights are on the device. Names of its
    /// buffers begin with `name`.
    ///
    /// # Errors
    /// [`Error::Config`] for discrete timesteps, because their schedule is not smooth, and for
    /// padded images, because the density of the border cannot be separated from the image's.
    pub fn new(
        ctx: &mut Context,
        model: Denoiser<'a>,
        padding: ImagePadding,
        batch: u32,
        name: &str,
    ) -> Result<FlowLikelihood<'a>> {
        if model.process.schedule().is_some() {
            let process = model.process.describe();
            return Err(Error::Config(format!("{process}: the likelihood of the flow needs continuous time")));
        }
        if padding.has_border() {
            return Err(Error::Config(format!(
                "the likelihood of the flow needs images of the model's shape {:?}, and the data's shape is {:?}",
                padding.model_shape(),
                padding.data_shape()
            )));
        }
        let [channels, height, width] = padding.model_shape();
        let shape = Shape::f32([batch, channels, height, width]);
        let scope = Scope::new(name);
        let named = |part: &str| scope.name(part);
        let (tape, ()) = record(ctx, |t| {
            let x = t.named(&named("x"), shape);
            let first = t.named(&named("first"), Shape::u32([1]));
            let index = scheduled_timesteps(t, first, batch);
            let inputs = t.named(&named("inputs"), Shape::f32([1, 2]));
            let input = q_sample(t, x, x, inputs, index);
            t.watch_into(input, BufferOffset::new(&named("gradient"), 0));
            let labels = model.network.classes().map(|_| t.named(&named("labels"), Shape::u32([batch])));
            let time = TimeTable { name: &named("time"), rows: 1 };
            let conditions = Conditions::record(t, model.network, index, time, labels);
            let weights = model.network.parameters().fixed(t, model.weights);
            let output = model.network.forward(t, &weights, input, conditions);
            t.keep(output, &named("output"));
            let signs = t.named(&named("signs"), shape);
            t.backward(output, signs);
        })?;
        let program = Program::compile(ctx, &tape)?;
        Ok(FlowLikelihood { model, program, padding, batch: batch as usize, scope })
    }

    /// Measures images. Calls `progress` with the finished share.
    ///
    /// # Errors
    /// Errors of the device and of `progress`; a solver that needs too many steps.
    ///
    /// # Panics
    /// If there are no images.
    pub fn measure(
        &self,
        ctx: &Context,
        images: LabeledImages<'_>,
        settings: FlowSettings,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<BitsPerDimension> {
        let FlowSettings { tolerance, seed } = settings;
        let pixels = self.padding.data_len();
        let count = images.bytes.len() / pixels;
        let all = divide(&*ctx.ranks, count.div_ceil(self.batch), |piece| {
            let first = piece * self.batch;
            let size = self.batch.min(count - first);
            // The last batch is filled up with its last image.
            let number = |i: usize| first + i.min(size - 1);
            let x: Vec<f64> = (0..self.batch)
                .flat_map(|i| dequantize(&images.bytes[number(i) * pixels..][..pixels], seed, number(i) as u32))
                .collect();
            let signs: Vec<f32> = (0..self.batch).flat_map(|i| random_signs(pixels, seed, number(i) as u32)).collect();
            ctx.write(&self.scope.name("signs"), 0, &signs)?;
            if self.model.network.classes().is_some() {
                let labels: Vec<u32> = (0..self.batch).map(|i| images.labels[number(i)]).collect();
                ctx.write(&self.scope.name("labels"), 0, &labels)?;
            }
            let ode = LikelihoodOde { process: self.model.process, images: self.batch, tolerance };
            let mut field = |t: f64, x: &[f64]| self.field(ctx, t, x, &signs);
            let mut share = |done: f64| progress((first as f64 + done * size as f64) / count as f64);
            let nats = ode.solve(&mut field, &x, &mut share)?;
            Ok(nats.into_iter().take(size).map(bits_of_log_density).collect())
        })?;
        let mut bits = sum_of_parts("likelihood of the probability flow", &[("total", all)]);
        bits.parts.clear();
        Ok(bits)
    }

    /// v = alpha' x0 + sigma' eps, and the estimate of its divergence with the given signs.
    fn field(&self, ctx: &Context, t: f64, x: &[f64], signs: &[f32]) -> Result<(Vec<f64>, Vec<f64>)> {
        let process = self.model.process;
        let at = process.marginal(t);
        let parameterization = process.parameterization(t);
        let [c0, c1, c2, c3] = process.to_x0_eps(t);
        let x_weight = at.alpha_rate * c0 + at.sigma_rate * c2;
        let output_weight = at.alpha_rate * c1 + at.sigma_rate * c3;
        let named = |part: &str| self.scope.name(part);
        ctx.write(&named("x"), 0, &x.iter().map(|&x| x as f32).collect::<Vec<f32>>())?;
        ctx.write(&named("inputs"), 0, &[parameterization.c_in as f32, 0.0])?;
        ctx.write(&named("first"), 0, &[0u32])?;
        ctx.write_if_present(&named("time"), &self.model.network.time_table(&[parameterization.time]))?;
        self.program.run(ctx, &Step::default())?;
        let output: Vec<f32> = ctx.read(&named("output"), 0, x.len())?;
        let gradient: Vec<f32> = ctx.read(&named("gradient"), 0, x.len())?;
        let velocity = x.iter().zip(output).map(|(x, m)| x_weight * x + output_weight * f64::from(m)).collect();
        let pixels = x.len() / self.batch;
        let divergence = signs.chunks(pixels).zip(gradient.chunks(pixels)).map(|(e, g)| {
            let product: f64 = e.iter().zip(g).map(|(&e, &g)| f64::from(e) * f64::from(g)).sum();
            x_weight * pixels as f64 + output_weight * parameterization.c_in * product
        });
        Ok((velocity, divergence.collect()))
    }
}

/// Random words of an image from a stream.
fn random_words(count: usize, seed: u64, image: u32, stream: u32) -> impl Iterator<Item = u32> {
    (0..count.div_ceil(4) as u32).flat_map(move |k| philox([stream, image, k, 0], key(seed))).take(count)
}

/// The pixels of an image in [-1, 1], each with uniform noise over its bin of width 2/255.
pub fn dequantize(bytes: &[u8], seed: u64, image: u32) -> Vec<f64> {
    let noise = random_words(bytes.len(), seed, image, stream::DEQUANTIZATION)
        .map(|word| (f64::from(word) + 0.5) / 2f64.powi(32));
    bytes.iter().zip(noise).map(|(&byte, u)| f64::from(pixel_value(byte)) + (2.0 * u - 1.0) / 255.0).collect()
}

/// A random sign for each value of an image.
fn random_signs(count: usize, seed: u64, image: u32) -> impl Iterator<Item = f32> {
    random_words(count, seed, image, stream::PROBE).map(|word| if word & 1 == 0 { 1.0 } else { -1.0 })
}
