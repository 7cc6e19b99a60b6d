//! Samples of a variational autoencoder: images decoded from latents of the prior N(0, 1).

use crate::gpu::{Context, KernelChoices};
use crate::nn::{Likelihood, Model, Vae};
use crate::ops::{affine, randn, slice};
use crate::tape::{Program, Shape, Step, record, stream};
use crate::{Error, Result};
use std::ops::Range;

/// A decoder that is ready to run.
pub struct Decoder {
    program: Program,
    out: String,
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
        if batch == 0 || batch > crate::gpu::MAX_WORKGROUPS {
            return Err(Error::Config(format!("a batch of {batch} images: draw 1 to {}", crate::gpu::MAX_WORKGROUPS)));
        }
        let config = model.config();
        let image = model.image_shape();
        let out = format!("{name}.x");
        let (tape, ()) = record(ctx, |t| {
            let z = randn(t, stream::SAMPLE, Shape::f32([batch, config.latent_channels]));
            let weights = model.parameters().fixed(t, weights);
            let mut x = model.decode(t, &weights, z);
            if config.likelihood == Likelihood::DiscretizedLogistic {
                x = slice(t, x, 0, image[0]);
            }
            // A copy, because the decoder's last tensor may share its buffer.
            x = affine(t, x, 1.0, 0.0);
            t.keep(x, &out);
        })?;
        let program = Program::compile(ctx, &tape)?;
        Ok(Decoder { program, out, likelihood: config.likelihood, batch, image })
    }

    /// The forms of kernels that it was compiled with.
    pub fn forms(&self) -> &KernelChoices {
        self.program.forms()
    }

    /// Bytes of device memory that its program needs next to the named buffers.
    pub fn slot_bytes(&self) -> u64 {
        self.program.slot_bytes()
    }

    /// Samples the images with these numbers, `[N, C, H, W]` in [-1, 1]. Each is the mean of the
    /// decoder's distribution.
    pub fn draw(&self, ctx: &Context, seed: u64, numbers: Range<u32>) -> Result<Vec<f32>> {
        let each: usize = self.image.iter().map(|&n| n as usize).product();
        let mut images = Vec::with_capacity(numbers.len() * each);
        for first_image in numbers.clone().step_by(self.batch as usize) {
            let step = Step { first_image, ..Step::seeded(seed) };
            self.program.run(ctx, &step)?;
            let drawn = self.batch.min(numbers.end - first_image) as usize;
            let values: Vec<f32> = ctx.read(&self.out, 0, drawn * each)?;
            images.extend(values.into_iter().map(|x| match self.likelihood {
                // The mean of a logit l is 2 sigmoid(l) - 1.
                Likelihood::Bernoulli => (0.5 * x).tanh(),
                Likelihood::DiscretizedLogistic => x,
            }));
        }
        Ok(images)
    }
}
