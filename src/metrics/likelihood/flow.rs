//! The likelihood of the probability flow (Song et al. 2021, section 4.3 and appendix D.2; Chen et al. 2018), in bits a dimension.
//!
//! Along dx/dt = v(x, t) the density changes by d log p/dt = -div v, so
//! log p(x_0) = log N(x_T; 0, prior²) + the integral of div v from the image's time to that of noise. The divergence is estimated by
//! e · (dv/dx)ᵀ e with one vector e of random signs for each image (Hutchinson 1990; Skilling 1989): v is linear in x and in the network's answer
//! m, v = a x + b m, so the tape's gradient of e · m with respect to what the network is shown is all that it takes.
//!
//! Pixels are dequantised by uniform noise of the width of their bins, 2/255, whose logarithm turns the density into bits: an upper bound of the
//! code of the 256 values (Theis et al. 2016, section 3.1). What is measured is the flow from the earliest time that training reaches.

use super::{Bits, summed};
use crate::diffusion::process::Process;
use crate::diffusion::{Denoiser, ode};
use crate::gpu::Context;
use crate::metrics::likelihood::vlb::Images;
use crate::metrics::padding::{ImagePadding, scaled};
use crate::nn::Conditions;
use crate::ops::{embedding, q_sample, scheduled_timesteps};
use crate::rng::{key, philox};
use crate::tape::{Program, Shape, Step, Tape, stream};
use crate::{Error, Result};
use std::f64::consts::{LN_2, TAU};

/// Bits by which a density on [-1, 1] differs from the code of a value whose bin is 2/255 wide: log2(255/2) = 6.994.
pub fn offset() -> f64 {
    (255.0f64 / 2.0).log2()
}

/// Bits a dimension of a flow: a density at the image's end in nats a dimension.
pub fn bits(nats: f64) -> f64 {
    offset() - nats / LN_2
}

/// The velocity at (t, x), and of each image e · (dv/dx)ᵀ e.
pub type Field<'a> = dyn FnMut(f64, &[f64]) -> Result<(Vec<f64>, Vec<f64>)> + 'a;

/// log p(x) in nats a dimension for each of `images` images x, by the flow `field` from the image's time to that of noise.
///
/// # Errors
/// Those of `field` and `progress`; a solver that runs out of steps.
pub fn log_density(
    field: &mut Field<'_>,
    process: &dyn Process,
    x: &[f64],
    images: usize,
    tolerance: f64,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Vec<f64>> {
    let (each, span) = (x.len() / images, [process.t_eps(), process.t_range()[0]]);
    // A row is an image and, at its end, the integral of the divergence a dimension.
    let state: Vec<f64> = x.chunks(each).flat_map(|image| image.iter().copied().chain([0.0])).collect();
    let mut slope = |t: f64, state: &[f64]| {
        let x: Vec<f64> = state.chunks(each + 1).flat_map(|row| row[..each].iter().copied()).collect();
        let (velocity, divergence) = field(t, &x)?;
        let rows = velocity.chunks(each).zip(divergence);
        Ok(rows.flat_map(|(v, div)| v.iter().copied().chain([div / each as f64])).collect())
    };
    let settings = ode::Settings { relative: tolerance, absolute: tolerance, rows: images, ..ode::Settings::default() };
    let share = |t: f64| (t - span[0]) / (span[1] - span[0]);
    let end = ode::solve(&mut slope, span, state, settings, &mut |t| progress(share(t)))?.x;
    let variance = process.prior_std().powi(2);
    let prior =
        |x: &[f64]| -0.5 * (x.iter().map(|x| x * x / variance).sum::<f64>() / each as f64 + (TAU * variance).ln());
    Ok(end.chunks(each + 1).map(|row| prior(&row[..each]) + row[each]).collect())
}

/// The flow's likelihood of a model, ready to be measured.
pub struct Flow<'a> {
    model: Denoiser<'a>,
    program: Program,
    border: ImagePadding,
    batch: usize,
    name: String,
}

impl<'a> Flow<'a> {
    /// Records and compiles it for a model whose weights lie in memory. Its own memory begins with `name`.
    ///
    /// # Errors
    /// Discrete time steps, whose schedule has kinks; images framed for the model, as the density of the frame cannot be told from that of the
    /// image; and the device's.
    pub fn new(
        ctx: &mut Context,
        model: Denoiser<'a>,
        border: ImagePadding,
        batch: u32,
        name: &str,
    ) -> Result<Flow<'a>> {
        if model.process.schedule().is_some() {
            let process = model.process.describe();
            return Err(Error::Config(format!("{process}: the flow's likelihood needs continuous time")));
        }
        if border.data() != border.model() {
            return Err(Error::Config(format!(
                "the flow's likelihood needs images of the model's own size {:?}, and those of the data are {:?}",
                border.model(),
                border.data()
            )));
        }
        let [channels, height, width] = border.model();
        let shape = Shape::f32([batch, channels, height, width]);
        let named = |part: &str| format!("{name}.{part}");
        let mut tape = Tape::new(ctx.target());
        let t = &mut tape;
        let x = t.named(&named("x"), shape);
        let first = t.named(&named("first"), Shape::u32([1]));
        let index = scheduled_timesteps(t, first, batch);
        let inputs = t.named(&named("inputs"), Shape::f32([1, 2]));
        let seen = q_sample(t, x, x, inputs, index);
        t.watch_into(seen, &named("gradient"), 0);
        let time = match model.network.time_width() {
            0 => None,
            width => {
                let rows = t.named(&named("time"), Shape::f32([1, width]));
                Some(embedding(t, index, rows))
            }
        };
        let labels = model.network.classes().map(|_| t.named(&named("labels"), Shape::u32([batch])));
        let weights = model.network.parameters().fixed(t, model.slab);
        let answer = model.network.forward(t, &weights, seen, Conditions { time, labels });
        t.keep(answer, &named("answer"));
        let probe = t.named(&named("probe"), shape);
        t.backward(answer, probe);
        let program = Program::compile(ctx, &tape)?;
        Ok(Flow { model, program, border, batch: batch as usize, name: name.into() })
    }

    /// Bits a dimension of images, with a tolerance of the solver. `progress` is called with the share that is done.
    ///
    /// # Errors
    /// The device's, those of `progress`, and a solver that runs out of steps.
    ///
    /// # Panics
    /// Without images.
    pub fn measure(
        &self,
        ctx: &Context,
        images: Images<'_>,
        tolerance: f64,
        seed: u64,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Bits> {
        let each = self.border.pixels();
        let count = images.bytes.len() / each;
        let mut all = Vec::with_capacity(count);
        for first in (0..count).step_by(self.batch) {
            let taken = self.batch.min(count - first);
            // The last batch is filled up with its last image.
            let number = |i: usize| first + i.min(taken - 1);
            let x: Vec<f64> = (0..self.batch)
                .flat_map(|i| dequantized(&images.bytes[number(i) * each..][..each], seed, number(i) as u32))
                .collect();
            let probe: Vec<f32> = (0..self.batch).flat_map(|i| signs(each, seed, number(i) as u32)).collect();
            ctx.write(&format!("{}.probe", self.name), 0, &probe)?;
            if self.model.network.classes().is_some() {
                let labels: Vec<u32> = (0..self.batch).map(|i| images.labels[number(i)]).collect();
                ctx.write(&format!("{}.labels", self.name), 0, &labels)?;
            }
            let mut field = |t: f64, x: &[f64]| self.field(ctx, t, x, &probe);
            let mut share = |done: f64| progress((first as f64 + done * taken as f64) / count as f64);
            let nats = log_density(&mut field, self.model.process, &x, self.batch, tolerance, &mut share)?;
            all.extend(nats.into_iter().take(taken).map(bits));
        }
        let mut bits = summed("likelihood of the probability flow", &[("total", all)]);
        bits.parts.clear();
        Ok(bits)
    }

    /// v = alpha' x_0 + sigma' eps and its divergence along the probe.
    fn field(&self, ctx: &Context, t: f64, x: &[f64], probe: &[f32]) -> Result<(Vec<f64>, Vec<f64>)> {
        let process = self.model.process;
        let (at, view, [c0, c1, c2, c3]) = (process.marginal(t), process.parameterization(t), process.to_x0_eps(t));
        let of_x = at.alpha_rate * c0 + at.sigma_rate * c2;
        let of_answer = at.alpha_rate * c1 + at.sigma_rate * c3;
        let named = |part: &str| format!("{}.{part}", self.name);
        ctx.write(&named("x"), 0, &x.iter().map(|&x| x as f32).collect::<Vec<f32>>())?;
        ctx.write(&named("inputs"), 0, &[view.c_in as f32, 0.0])?;
        ctx.write(&named("first"), 0, &[0u32])?;
        ctx.write_if_present(&named("time"), &self.model.network.time_table(&[view.time]))?;
        self.program.run(ctx, &Step::default())?;
        let answer: Vec<f32> = ctx.read(&named("answer"), 0, x.len())?;
        let gradient: Vec<f32> = ctx.read(&named("gradient"), 0, x.len())?;
        let velocity = x.iter().zip(answer).map(|(x, m)| of_x * x + of_answer * f64::from(m)).collect();
        let each = x.len() / self.batch;
        let divergence = probe.chunks(each).zip(gradient.chunks(each)).map(|(e, g)| {
            let along: f64 = e.iter().zip(g).map(|(&e, &g)| f64::from(e) * f64::from(g)).sum();
            of_x * each as f64 + of_answer * view.c_in * along
        });
        Ok((velocity, divergence.collect()))
    }
}

/// Random words of an image.
fn words(count: usize, seed: u64, image: u32, what: u32) -> impl Iterator<Item = u32> {
    (0..count.div_ceil(4) as u32).flat_map(move |k| philox([what, image, k, 0], key(seed))).take(count)
}

/// An image of bytes in [-1, 1], each moved by noise that is uniform over its bin of width 2/255.
pub fn dequantized(bytes: &[u8], seed: u64, image: u32) -> Vec<f64> {
    let noise =
        words(bytes.len(), seed, image, stream::DEQUANTIZATION).map(|word| (f64::from(word) + 0.5) / 2f64.powi(32));
    bytes.iter().zip(noise).map(|(&byte, u)| f64::from(scaled(byte)) + (2.0 * u - 1.0) / 255.0).collect()
}

/// Signs, one for each value of an image.
fn signs(count: usize, seed: u64, image: u32) -> impl Iterator<Item = f32> {
    words(count, seed, image, stream::PROBE).map(|word| if word & 1 == 0 { 1.0 } else { -1.0 })
}
