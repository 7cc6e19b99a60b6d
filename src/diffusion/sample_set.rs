//! Sampling any number of images in batches.

use super::frames::FrameTimes;
use super::generator::{Generator, Observer};
use crate::Result;
use crate::gpu::Context;

/// Which images to sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleSet<'a> {
    /// One label per image. Their number is the number of images.
    pub labels: &'a [u32],
    /// Index of the first image. The noise of an image depends on the seed and its index.
    pub first: u32,
    /// Noise N(0, 1) for each image, `[N, C, H, W]`, instead of the seed's.
    pub noise: Option<&'a [f32]>,
    /// Number of intermediate states to keep, evenly spread over the stages.
    pub frames: u32,
}

/// Sampled images.
#[derive(Clone, Debug, Default)]
pub struct SampledImages {
    /// The images, `[N, C, H, W]` in about [-1, 1].
    pub images: Vec<f32>,
    /// Intermediate states of all images, from noise to the images themselves. Empty if
    /// [`SampleSet::frames`] is 0.
    pub frames: Vec<Vec<f32>>,
}

impl Generator<'_> {
    /// Samples a set in batches. The observer receives the finished share of all images.
    ///
    /// # Errors
    /// As [`Generator::sample`].
    ///
    /// # Panics
    /// If the noise does not have the size of the images.
    pub fn sample_set(&self, ctx: &Context, set: SampleSet<'_>, observer: &mut Observer<'_>) -> Result<SampledImages> {
        let batch = self.shape().dims()[0] as usize;
        let pixels = self.shape().len() / batch;
        let count = set.labels.len();
        let prior = self.plan().prior();
        let mut all = SampledImages::default();
        for (number, labels) in set.labels.chunks(batch).enumerate() {
            let first = number * batch;
            let mut frames = FrameTimes::new(set.frames);
            let mut kept = 0;
            let mut observe = |done: f64| {
                if frames.due(done) {
                    if all.frames.len() == kept {
                        all.frames.push(vec![]);
                    }
                    all.frames[kept].extend(&self.images(ctx)?[..labels.len() * pixels]);
                    kept += 1;
                }
                observer((first as f64 + done * labels.len() as f64) / count as f64)
            };
            match set.noise {
                Some(noise) => {
                    let mut x = prior.of_unit(&noise[first * pixels..][..labels.len() * pixels]);
                    x.resize(batch * pixels, 0.0);
                    self.begin_from(ctx, &x, labels)?;
                }
                None => self.begin(ctx, labels, set.first + first as u32)?,
            }
            observe(0.0)?;
            self.run(ctx, set.first + first as u32, &mut observe)?;
            all.images.extend(&self.images(ctx)?[..labels.len() * pixels]);
        }
        if set.frames > 0 {
            // The adaptive solver may record a different number of states in each batch.
            let length = all.images.len();
            all.frames.retain(|frame| frame.len() == length);
            all.frames.push(all.images.clone());
        }
        Ok(all)
    }
}
