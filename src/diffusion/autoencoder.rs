//! A variational autoencoder's samples, decoded from latents of a prior, and its latents of images.

use super::latent_prior::{LatentPrior, Mixture};
use super::scope::Scope;
use crate::data::Dataset;
use crate::gpu::{Context, KernelChoices};
use crate::nn::{Likelihood, Model, Vae};
use crate::ops::{affine, reparameterize, slice};
use crate::tape::{Program, Shape, Step, record};
use crate::{Error, Result};
use std::ops::Range;

/// Largest number of training images that a prior is fitted to.
const PRIOR_IMAGES: usize = 20_000;
/// Most components of a mixture: each needs two images.
pub const MOST_COMPONENTS: u32 = PRIOR_IMAGES as u32 / 2;
/// Images that are converted to floating-point numbers at once.
const CONVERTED: usize = 512;
/// Images that the encoder encodes at once.
const ENCODER_BATCH: u32 = 64;

/// A decoder that is ready to run.
pub struct Decoder {
    program: Program,
    scope: Scope,
    likelihood: Likelihood,
    batch: u32,
    image: [u32; 3],
}

impl Decoder {
    /// Records and compiles the decoder of a model whose weights are in the buffer `weights`. The
    /// names of the decoder's buffers begin with `name`.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch that is empty or too large.
    pub fn new(ctx: &mut Context, model: &Vae, weights: &str, batch: u32, name: &str) -> Result<Decoder> {
        check_batch(batch)?;
        let config = model.config();
        let image = model.image_shape();
        let scope = Scope::new(name);
        let (tape, ()) = record(ctx, |t| {
            let z = t.named(&scope.name("z"), Shape::f32([batch, config.latent_channels]));
            let weights = model.parameters().fixed(t, weights);
            let mut x = model.decode(t, &weights, z);
            if config.likelihood == Likelihood::DiscretizedLogistic {
                x = slice(t, x, 0, image[0]);
            }
            // A copy, because the decoder's last tensor may share its buffer.
            x = affine(t, x, 1.0, 0.0);
            t.keep(x, &scope.name("x"));
        })?;
        let program = Program::compile(ctx, &tape)?;
        Ok(Decoder { program, scope, likelihood: config.likelihood, batch, image })
    }

    /// The forms of kernels that it was compiled with.
    pub fn forms(&self) -> &KernelChoices {
        self.program.forms()
    }

    /// Bytes of device memory that its program needs next to the named buffers.
    pub fn slot_bytes(&self) -> u64 {
        self.program.slot_bytes()
    }

    /// Samples the images with these numbers, `[N, C, H, W]` in [-1, 1], with latents of a prior.
    /// Each is the mean of the decoder's distribution.
    pub fn draw(&self, ctx: &Context, prior: &LatentPrior, seed: u64, numbers: Range<u32>) -> Result<Vec<f32>> {
        let each: usize = self.image.iter().map(|&n| n as usize).product();
        let mut images = Vec::with_capacity(numbers.len() * each);
        for first in numbers.clone().step_by(self.batch as usize) {
            let latents: Vec<f32> = (first..first + self.batch).flat_map(|number| prior.draw(seed, number)).collect();
            ctx.write(&self.scope.name("z"), 0, &latents)?;
            self.program.run(ctx, &Step::seeded(seed))?;
            let drawn = self.batch.min(numbers.end - first) as usize;
            let values: Vec<f32> = ctx.read(&self.scope.name("x"), 0, drawn * each)?;
            images.extend(values.into_iter().map(|x| match self.likelihood {
                // The mean of a logit l is 2 sigmoid(l) - 1.
                Likelihood::Bernoulli => (0.5 * x).tanh(),
                Likelihood::DiscretizedLogistic => x,
            }));
        }
        Ok(images)
    }
}

/// An encoder that is ready to run.
pub struct Encoder {
    program: Program,
    scope: Scope,
    batch: usize,
    pixels: usize,
    latent: usize,
}

impl Encoder {
    /// Records and compiles the encoder of a model whose weights are in the buffer `weights`. The
    /// names of the encoder's buffers begin with `name`.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch that is empty or too large.
    pub fn new(ctx: &mut Context, model: &Vae, weights: &str, batch: u32, name: &str) -> Result<Encoder> {
        check_batch(batch)?;
        let [channels, height, width] = model.image_shape();
        let scope = Scope::new(name);
        let (tape, ()) = record(ctx, |t| {
            let x = t.named(&scope.name("x"), Shape::f32([batch, channels, height, width]));
            let weights = model.parameters().fixed(t, weights);
            let (mean, log_variance) = model.encode(t, &weights, x);
            let z = reparameterize(t, mean, log_variance);
            // A copy, because the tensor may share its buffer with others.
            let z = affine(t, z, 1.0, 0.0);
            t.keep(z, &scope.name("z"));
        })?;
        let program = Program::compile(ctx, &tape)?;
        let pixels = (channels * height * width) as usize;
        Ok(Encoder { program, scope, batch: batch as usize, pixels, latent: model.latent_channels() as usize })
    }

    /// One latent of each image, drawn from q(z | x), `[N, latent]`. The images are `[N, C, H, W]`
    /// in [-1, 1]. Their noise depends on the seed and on their numbers, which begin with `first`.
    ///
    /// # Panics
    /// If the images are not a whole number of images.
    pub fn latents(&self, ctx: &Context, images: &[f32], first: u32, seed: u64) -> Result<Vec<f32>> {
        assert!(images.len().is_multiple_of(self.pixels), "{} values of images", images.len());
        let mut latents = vec![];
        for (number, batch) in images.chunks(self.batch * self.pixels).enumerate() {
            ctx.write(&self.scope.name("x"), 0, batch)?;
            let first_image = first + (number * self.batch) as u32;
            self.program.run(ctx, &Step { first_image, ..Step::seeded(seed) })?;
            let values: Vec<f32> = ctx.read(&self.scope.name("z"), 0, batch.len() / self.pixels * self.latent)?;
            latents.extend(values);
        }
        Ok(latents)
    }
}

/// The training images of a data set: the first `count` images.
#[derive(Clone, Copy, Debug)]
pub struct TrainingImages<'a> {
    /// The data set.
    pub data: &'a Dataset,
    /// Number of training images.
    pub count: usize,
}

impl TrainingImages<'_> {
    /// Number of images that a mixture is fitted to.
    pub fn used(&self) -> u32 {
        self.count.min(PRIOR_IMAGES) as u32
    }
}

/// A mixture that is fitted to the latents of training images, of at most 20,000 (Ghosh et al. 2020,
/// section 4).
///
/// # Errors
/// As [`Mixture::fit`] and [`Vae::check_size`], and errors of the device.
pub fn fitted_mixture(
    ctx: &mut Context,
    model: &Vae,
    weights: &str,
    images: TrainingImages<'_>,
    components: u32,
) -> Result<Mixture> {
    let TrainingImages { data, count } = images;
    let [_, height, width] = data.shape();
    model.check_size(height, width)?;
    let encoder = Encoder::new(ctx, model, weights, ENCODER_BATCH, "prior")?;
    let pixels = data.pixels();
    let used = images.used() as usize;
    // Equally spaced, because images can be sorted by class.
    let chosen: Vec<usize> = (0..used).map(|k| k * count / used).collect();
    let mut latents = vec![];
    for (block, chosen) in chosen.chunks(CONVERTED).enumerate() {
        let bytes = chosen.iter().flat_map(|image| &data.images[image * pixels..][..pixels]);
        let images: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        latents.extend(encoder.latents(ctx, &images, (block * CONVERTED) as u32, 0)?);
    }
    Mixture::fit(&latents, model.latent_channels() as usize, components as usize)
}

fn check_batch(batch: u32) -> Result<()> {
    let most = crate::gpu::MAX_WORKGROUPS;
    if batch == 0 || batch > most {
        return Err(Error::Config(format!("a batch of {batch} images: use 1 to {most}")));
    }
    Ok(())
}
