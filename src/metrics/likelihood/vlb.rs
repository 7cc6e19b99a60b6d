//! The variational bound of a process of discrete time steps (Ho et al. 2020, eq. 5), in bits a dimension:
//!
//! ```text
//! L_T                        the divergence of q(x_T | x_0) from N(0, 1), in closed form
//! sum of L_t, t = 1 .. T-1   estimated at a few time steps of each image
//! L_0                        the code of x_0 given x_1, by the mass of each pixel's bin; the outer bins reach to infinity (eq. 13)
//! ```
//!
//! Most of the sum lies at small t, so half of the time steps are drawn in proportion to 1/t and half equally often, and each term is weighted
//! by the inverse of its probability: the estimate stays unbiased. They are stratified: multiples of the
//! golden ratio, shifted by the seed. Where
//! as many are asked for as there are, each is taken once, and only the noise is left to chance.

use super::{Bits, summed};
use crate::diffusion::variational::table;
use crate::diffusion::{Denoiser, TrainingTables, Variance};
use crate::gpu::Context;
use crate::metrics::padding::{ImagePadding, scaled};
use crate::nn::Conditions;
use crate::ops::{embedding, q_sample, randn, slice, vlb};
use crate::rng::{key, philox};
use crate::tape::{Program, Shape, Step, Tape, stream};
use crate::{Error, Result};
use std::f64::consts::LN_2;

/// Images whose bound is measured.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// Bytes `[N, C, H, W]`.
    pub bytes: &'a [u8],
    /// Class of each; not read for a model that knows none.
    pub labels: &'a [u32],
}

/// The bound of a model, ready to be measured.
pub struct Bound {
    program: Program,
    border: ImagePadding,
    batch: usize,
    name: String,
    /// The variances of the reverse process that it is measured with.
    variances: Vec<Variance>,
    /// alphas_cumprod of the last time step.
    last: f64,
    /// Time steps 1 .. T-1: probability of each, and of it and all before.
    chances: Vec<[f64; 2]>,
    labels: bool,
}

impl Bound {
    /// Records and compiles it for a model whose weights lie in memory. Its own memory begins with `name`.
    ///
    /// # Errors
    /// A process without discrete time steps, and the device's.
    pub fn new(ctx: &mut Context, model: &Denoiser<'_>, border: ImagePadding, batch: u32, name: &str) -> Result<Bound> {
        let Some(schedule) = model.process.schedule() else {
            let process = model.process.describe();
            return Err(Error::Config(format!("{process}: the variational bound needs discrete time steps")));
        };
        let variances = match model.learned_variance {
            true => vec![Variance::LearnedRange],
            false => vec![Variance::FixedSmall, Variance::FixedLarge],
        };
        let (steps, tables) = (schedule.timesteps(), TrainingTables::new(model.process));
        let [channels, height, width] = border.model();
        let named = |part: &str| format!("{name}.{part}");
        let mut tape = Tape::new(ctx.target());
        let t = &mut tape;
        let x0 = t.named(&named("x0"), Shape::f32([batch, channels, height, width]));
        let time = t.named(&named("timesteps"), Shape::u32([batch]));
        let e = randn(t, stream::NOISE, t.shape(x0));
        let shown = t.named(&named("shown"), Shape::f32([steps, 2]));
        let x = q_sample(t, x0, e, shown, time);
        let told = match model.network.time_width() {
            0 => None,
            width => {
                let rows = t.named(&named("time"), Shape::f32([steps, width]));
                Some(embedding(t, time, rows))
            }
        };
        let labels = model.network.classes().map(|_| t.named(&named("labels"), Shape::u32([batch])));
        let weights = model.network.parameters().fixed(t, model.slab);
        let whole = model.network.forward(t, &weights, x, Conditions { time: told, labels });
        let whole = border.record_crop(t, whole);
        let (x0, x) = (border.record_crop(t, x0), border.record_crop(t, x));
        // Where the variance is fixed the answer stands in for the second half, whose weight is zero.
        let (mean, variance) = match model.learned_variance {
            true => (slice(t, whole, 0, channels), slice(t, whole, channels, channels)),
            false => (whole, whole),
        };
        for (number, _) in variances.iter().enumerate() {
            let table = t.named(&named(&format!("table.{number}")), Shape::f32([steps, vlb::COEFFICIENTS]));
            let bits = vlb(t, mean, variance, x0, x, table, time);
            t.keep(bits, &named(&format!("bits.{number}")));
        }
        let program = Program::compile(ctx, &tape)?;
        ctx.write(&named("shown"), 0, &tables.shown.concat())?;
        ctx.write_if_present(&named("time"), &model.network.time_table(&tables.times))?;
        for (number, &variance) in variances.iter().enumerate() {
            let rows = table(schedule, model.process, variance, model.decoder_min_std).concat();
            ctx.write(&named(&format!("table.{number}")), 0, &rows)?;
        }
        Ok(Bound {
            program,
            border,
            batch: batch as usize,
            name: name.into(),
            variances,
            last: schedule.alphas_cumprod().last().copied().unwrap_or(0.0),
            chances: chances(steps),
            labels: labels.is_some(),
        })
    }

    /// The bound of images, at `draws` time steps of each besides t = 0; at each once, if there are no more. Of two fixed variances that with the smaller bound is told: both are
    /// bounds, and that choice gains far less than the error. `progress` is called with the share that is done.
    ///
    /// # Errors
    /// The device's, and those of `progress`.
    ///
    /// # Panics
    /// Without images, or without a label for each.
    pub fn measure(
        &self,
        ctx: &Context,
        images: Images<'_>,
        draws: u32,
        seed: u64,
        progress: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Bits> {
        let each = self.border.pixels();
        let draws = (draws as usize).min(self.chances.len());
        let count = images.bytes.len() / each;
        assert!(count > 0 && (!self.labels || images.labels.len() == count), "{count} images with labels");
        // Of each variance and image: L_0, and the weighted mean of the drawn terms.
        let mut terms = vec![[vec![], vec![]]; self.variances.len()];
        for first in (0..count).step_by(self.batch) {
            let taken = self.batch.min(count - first);
            self.load(ctx, images, first, taken)?;
            for part in &mut terms {
                part[1].resize(first + taken, 0.0);
            }
            for round in 0..=draws {
                let drawn: Vec<(u32, f64)> = (first..first + taken)
                    .map(|image| match round {
                        0 => (0, 1.0),
                        _ if draws == self.chances.len() => (round as u32, 1.0 / draws as f64),
                        _ => self.draw(image * draws + round - 1, seed),
                    })
                    .collect();
                let times: Vec<u32> = (0..self.batch).map(|i| drawn[i.min(taken - 1)].0).collect();
                ctx.write(&format!("{}.timesteps", self.name), 0, &times)?;
                let step = Step {
                    seed_low: seed as u32,
                    seed_high: (seed >> 32) as u32,
                    index: round as u32,
                    first_image: first as u32,
                    ..Step::default()
                };
                self.program.run(ctx, &step)?;
                for (number, [at_zero, rest]) in terms.iter_mut().enumerate() {
                    let bits: Vec<f32> = ctx.read(&format!("{}.bits.{number}", self.name), 0, taken)?;
                    for (i, (bits, (_, chance))) in bits.into_iter().zip(&drawn).enumerate() {
                        match round {
                            0 => at_zero.push(f64::from(bits)),
                            _ => rest[first + i] += f64::from(bits) / (chance * draws as f64),
                        }
                    }
                }
            }
            progress((first + taken) as f64 / count as f64)?;
        }
        let prior: Vec<f64> = images.bytes.chunks(each).map(|image| self.prior(image)).collect();
        let all = self.variances.iter().zip(terms).map(|(variance, [at_zero, rest])| {
            summed(name(*variance), &[("L_T", prior.clone()), ("sum of L_t", rest), ("L_0", at_zero)])
        });
        Ok(all.min_by(|a, b| a.total.value.total_cmp(&b.total.value)).expect("a variance to measure with"))
    }

    fn load(&self, ctx: &Context, images: Images<'_>, first: usize, taken: usize) -> Result<()> {
        let each = self.border.pixels();
        let framed = self.border.framed(&images.bytes[first * each..][..taken * each]);
        ctx.write(&format!("{}.x0", self.name), 0, &framed)?;
        if self.labels {
            ctx.write(&format!("{}.labels", self.name), 0, &images.labels[first..first + taken])?;
        }
        Ok(())
    }

    /// L_T of an image, in bits a dimension: the mean of (abar x² - abar - log(1 - abar)) / 2 nats.
    fn prior(&self, image: &[u8]) -> f64 {
        let square = image.iter().map(|&byte| f64::from(scaled(byte)).powi(2)).sum::<f64>() / image.len() as f64;
        0.5 * (self.last * (square - 1.0) - (-self.last).ln_1p()) / LN_2
    }

    /// Time step and probability of draw `k` of all.
    fn draw(&self, k: usize, seed: u64) -> (u32, f64) {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let shift = f64::from(philox([stream::TIMESTEP, 0, 0, 0], key(seed))[0]) / 2f64.powi(32);
        let u = (shift + k as f64 * GOLDEN).fract();
        let at = self.chances.partition_point(|[_, until]| *until <= u).min(self.chances.len() - 1);
        (at as u32 + 1, self.chances[at][0])
    }
}

/// Probability of time steps 1 .. T-1, and of each and all before it.
fn chances(steps: u32) -> Vec<[f64; 2]> {
    let harmonic: f64 = (1..steps).map(|t| 1.0 / f64::from(t)).sum();
    let mut until = 0.0;
    (1..steps)
        .map(|t| {
            let chance = 0.5 / f64::from(steps - 1) + 0.5 / (f64::from(t) * harmonic);
            until += chance;
            [chance, until]
        })
        .collect()
}

fn name(variance: Variance) -> &'static str {
    match variance {
        Variance::LearnedRange => "variational bound, learned variance",
        Variance::FixedSmall => "variational bound, variance fixed_small",
        Variance::FixedLarge => "variational bound, variance fixed_large",
    }
}
