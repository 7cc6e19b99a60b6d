//! Inpainting. After each stage, the known part of the image is replaced by the given image with
//! the noise of that time (Song et al. 2021b, appendix I.2). Each stage is repeated, so that the
//! unknown part comes to fit the known part (Lugmayr et al. 2022, algorithm 1).

use super::generator::{Generator, Observer};
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
    /// Passes through each stage, at least 1.
    pub passes: u32,
    /// Seed of the noise.
    pub seed: u64,
}

/// Samples the unknown part of the images of a batch that has begun. The observer receives the
/// finished share.
///
/// # Errors
/// [`Error::Config`] for a sampler whose steps have several stages, and errors of the observer.
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
    let process = generator.denoiser().process;
    let pixels = known.mask.len();
    let count = plan.stages.len();
    for (index, stage) in plan.stages.iter().enumerate() {
        let now = process.marginal(stage.time);
        let next = plan.stages.get(index + 1).map(|next| process.marginal(next.time));
        let (alpha, sigma) = next.map_or((1.0, 0.0), |next| (next.alpha, next.sigma));
        let passes = if next.is_some() { known.passes } else { 1 };
        for pass in 0..passes {
            generator.stage(ctx, index as u32, 0)?;
            let mut x = generator.images(ctx)?;
            let draw = |part: u32, i: usize| {
                let counter = [stream::PICTURE, 1 + index as u32, 2 * pass + part, i as u32 / 4];
                normal4(philox(counter, key(known.seed)))[i % 4]
            };
            for (i, x) in x.iter_mut().enumerate() {
                if known.mask[i % pixels] {
                    *x = (alpha * f64::from(known.image[i % known.image.len()]) + sigma * draw(0, i)) as f32;
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
