//! Inpainting. After each stage, the known part of the image is replaced by the given image with
//! the noise of that time (Song et al. 2021b, appendix I.2). Each stage is repeated with fresh
//! noise, so that the unknown part comes to fit the known part (Lugmayr et al. 2022, algorithm 1).

use super::generator::{Generator, Observer, StageNoise};
use super::sampler::{Action, Stage};
use crate::gpu::Context;
use crate::rng::{key, normal4, philox};
use crate::tape::stream;
use crate::{Error, Result};

/// The known part of an image, and the number of passes through each stage.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The image in [-1, 1], `[C, H, W]`, the same for the whole batch.
    pub image: &'a [f32],
    /// Whether each pixel is known, `[H, W]`.
    pub mask: &'a [bool],
    /// Passes through each stage, 1 to 2^23.
    pub passes: u32,
    /// Number of the batch's first image, as in [`Generator::begin`].
    pub first_image: u32,
    /// Seed of the noise.
    pub seed: u64,
}

/// Passes whose numbers, with one bit for the kind of noise, fit next to the random stream.
const MOST_PASSES: u32 = 1 << 23;

/// Samples the unknown part of the images of a batch that has begun. The observer receives the
/// finished share. An image depends on its number, not on its batch.
///
/// # Errors
/// [`Error::Config`] for a sampler whose steps have several stages and for a number of passes out
/// of range, and errors of the observer.
pub fn inpaint(ctx: &Context, generator: &Generator<'_>, known: &Known<'_>, observer: &mut Observer<'_>) -> Result<()> {
    let single = |stage: &Stage| match stage.action {
        Action::Move(update) => update.h == 0.0,
        Action::MoveLearned { .. } => true,
        Action::Correct { .. } => false,
    };
    let fixed = generator.plan().fixed().filter(|plan| plan.stages.iter().all(single));
    let plan = fixed.ok_or_else(|| {
        Error::Config(
            "inpainting needs a sampler whose steps are single stages: use ddpm, ddim, euler or euler_maruyama".into(),
        )
    })?;
    if !(1..=MOST_PASSES).contains(&known.passes) {
        return Err(Error::Config(format!("{} passes: use 1 to {MOST_PASSES}, usually 5 to 10", known.passes)));
    }
    let process = generator.denoiser().process;
    let size = known.image.len();
    let pixels = known.mask.len();
    let count = plan.stages.len();
    for (index, stage) in plan.stages.iter().enumerate() {
        let now = process.marginal(stage.time);
        let next = plan.stages.get(index + 1).map(|next| process.marginal(next.time));
        let (alpha, sigma) = next.map_or((1.0, 0.0), |next| (next.alpha, next.sigma));
        let passes = if next.is_some() { known.passes } else { 1 };
        for pass in 0..passes {
            generator.stage(ctx, index as u32, StageNoise { first_image: known.first_image, pass })?;
            let mut x = generator.images(ctx)?;
            let draw = |part: u32, i: usize| {
                let stream = stream::PICTURE | ((2 * pass + part) << 8);
                let (image, i) = (known.first_image + (i / size) as u32, i % size);
                normal4(philox([stream, 1 + index as u32, image, i as u32 / 4], key(known.seed)))[i % 4]
            };
            for (i, x) in x.iter_mut().enumerate() {
                if known.mask[i % pixels] {
                    *x = (alpha * f64::from(known.image[i % size]) + sigma * draw(0, i)) as f32;
                }
            }
            if pass + 1 < passes {
                // Returns to the stage's time by adding the missing noise.
                let factor = now.alpha / alpha;
                let missing = (now.sigma * now.sigma - factor * factor * sigma * sigma).max(0.0).sqrt();
                x.iter_mut().enumerate().for_each(|(i, x)| *x = (factor * f64::from(*x) + missing * draw(1, i)) as f32);
            }
            generator.set_images(ctx, &x)?;
        }
        observer((index + 1) as f64 / count as f64)?;
    }
    Ok(())
}
