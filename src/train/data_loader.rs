//! Uploads images to the device: all of them before training if the device can bind them, otherwise
//! in chunks that a separate thread gathers. Both give the same batches, bit for bit, because a
//! streamed chunk holds the images that the permutation selects.

use super::config::{Config, RandomFlip, Storage};
use super::step_uniforms;
use crate::data::{Dataset, Stream};
use crate::gpu::Context;
use crate::ops::{BatchPart, IndexOrder, permuted_images};
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};
use std::sync::Arc;

/// Batches per chunk: a multiple of four, so that chunks start at whole words whatever the size of
/// an image.
const CHUNK: u32 = 16;
/// Chunks in the ring on the device: one is used while the other is written.
const CHUNKS: u32 = 2;

/// The names of two buffers that belong together.
struct ImageBuffers {
    pixels: &'static str,
    labels: &'static str,
}

/// The whole data set, if it fits.
const ALL: ImageBuffers = ImageBuffers { pixels: "data.images", labels: "data.labels" };
/// The chunks of a streamed data set.
const RING: ImageBuffers = ImageBuffers { pixels: "data.ring.images", labels: "data.ring.labels" };
/// The validation images of a streamed data set.
const VALIDATION: ImageBuffers = ImageBuffers { pixels: "data.validation.images", labels: "data.validation.labels" };

/// Uploads the images of a run to the device.
#[derive(Clone, Copy, Debug)]
pub struct DataLoader {
    streamed: bool,
    random_flip: bool,
    part: BatchPart,
}

/// Images on a tape.
pub struct StoredImages {
    /// Bytes of the images, four per word.
    pub pixels: Tensor,
    /// Classes of the images.
    pub labels: Tensor,
    /// Index of the first image to use.
    pub first: u32,
}

impl DataLoader {
    /// The loader for these settings on this device, of this part of each batch.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for `--storage device` if the data set exceeds the device's largest
    /// binding.
    pub fn new(ctx: &Context, config: &Config, data: &Dataset, part: BatchPart) -> Result<DataLoader> {
        let (bytes, limit) = (data.images.len() as u64, ctx.gpu.max_binding());
        let streamed = match config.storage {
            Storage::Auto => bytes > limit,
            Storage::Stream => true,
            Storage::Device if bytes <= limit => false,
            Storage::Device => {
                let what = format!("the data set {}", data.name);
                return Err(Error::TooLarge { what, bytes, limit, advice: "use --storage stream".into() });
            }
        };
        let random_flip = match config.random_flip {
            RandomFlip::Auto => data.mirrors,
            RandomFlip::Always => true,
            RandomFlip::Never => false,
        };
        Ok(DataLoader { streamed, random_flip, part })
    }

    /// Checks the buffers of streamed images. An image has `pixels` bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if one exceeds the largest binding, of `limit` bytes.
    pub fn check_stream(&self, config: &Config, pixels: u64, limit: u64) -> Result<()> {
        if !self.streamed {
            return Ok(());
        }
        let ring = u64::from(CHUNKS * CHUNK) * u64::from(self.part.count);
        let validation = u64::from(config.validation_count);
        for (images, what, option) in [
            (ring, format!("a ring of {} batches", CHUNKS * CHUNK), "--batch"),
            (validation, "the validation images".into(), "--validation-count"),
        ] {
            let bytes = images.saturating_mul(pixels);
            if bytes > limit {
                let what = format!("{what} on the device ({images} images of {pixels} bytes)");
                let advice = format!("use a smaller {option} or smaller images");
                return Err(Error::TooLarge { what, bytes, limit, advice });
            }
        }
        Ok(())
    }

    /// Whether images are streamed.
    pub fn streamed(&self) -> bool {
        self.streamed
    }

    /// Whether training images are flipped at random.
    pub fn random_flip(&self) -> bool {
        self.random_flip
    }

    /// The order in which training uses the images on the device.
    pub fn order(&self) -> IndexOrder {
        if self.streamed { IndexOrder::Ring { slots: CHUNKS * CHUNK } } else { IndexOrder::Permuted }
    }

    /// The training images on a tape.
    pub fn training(&self, t: &mut Tape, data: &Dataset) -> StoredImages {
        if self.streamed {
            stored(t, RING, data, (CHUNKS * CHUNK * self.part.count) as usize)
        } else {
            stored(t, ALL, data, data.count)
        }
    }

    /// The validation images on a tape: all images after the first `training`.
    pub fn validation(&self, t: &mut Tape, data: &Dataset, training: u32) -> StoredImages {
        if self.streamed {
            stored(t, VALIDATION, data, data.count - training as usize)
        } else {
            StoredImages { first: training, ..stored(t, ALL, data, data.count) }
        }
    }

    /// Uploads the whole data set, or only the validation images of a streamed data set.
    pub fn upload(&self, ctx: &mut Context, data: &Dataset, training: u32) -> Result<()> {
        let (names, first) = if self.streamed { (VALIDATION, training as usize) } else { (ALL, 0) };
        if first < data.count {
            upload(ctx, names.pixels, &data.images[first * data.pixels()..])?;
            upload(ctx, names.labels, bytemuck::cast_slice(&data.labels[first..]))?;
        }
        Ok(())
    }

    /// Starts a thread that streams chunks for the steps after the first `finished` steps. `None`
    /// if all images are on the device.
    pub fn start(&self, config: &Config, data: &Arc<Dataset>, training: u32, finished: u32) -> Option<ChunkSource> {
        if !self.streamed {
            return None;
        }
        let (config, part) = (config.clone(), self.part);
        let order = move |chunk: u64| {
            let first = chunk as u32 * CHUNK;
            (first..first + CHUNK)
                .flat_map(|n| {
                    let step = step_uniforms::step(&config, training, n, part.first);
                    permuted_images(config.seed, training, step.epoch, step.position, part.count)
                })
                .collect()
        };
        let chunk = u64::from(finished / CHUNK);
        Some(ChunkSource { stream: Stream::start(data.clone(), order, chunk), written: chunk, batch: part.count })
    }
}

/// The chunks that a separate thread gathers.
pub struct ChunkSource {
    stream: Stream,
    written: u64,
    batch: u32,
}

impl ChunkSource {
    /// Number of steps that waited for their images.
    pub fn waits(&self) -> u64 {
        self.stream.waits()
    }

    /// Writes the images of the step after `finished` steps. Work that is submitted later sees
    /// them.
    pub fn provide(&mut self, ctx: &Context, finished: u32) -> Result<()> {
        let wanted = u64::from(finished / CHUNK);
        while self.written <= wanted {
            let chunk = self.stream.next();
            let images = (self.written % u64::from(CHUNKS)) * u64::from(CHUNK * self.batch);
            let bytes_per_image = chunk.pixels.len() as u64 / u64::from(CHUNK * self.batch);
            ctx.write(RING.pixels, images * bytes_per_image, &chunk.pixels)?;
            ctx.write(RING.labels, images * 4, &chunk.labels)?;
            self.written += 1;
        }
        Ok(())
    }
}

/// Uploads bytes, padded to a multiple of 16, without a copy of all of them.
fn upload(ctx: &mut Context, name: &str, bytes: &[u8]) -> Result<()> {
    ctx.require(name, (bytes.len() as u64).next_multiple_of(16))?;
    let (whole, rest) = bytes.split_at(bytes.len() / 16 * 16);
    ctx.write(name, 0, whole)?;
    let mut padded = [0; 16];
    padded[..rest.len()].copy_from_slice(rest);
    if rest.is_empty() { Ok(()) } else { ctx.write(name, whole.len() as u64, &padded) }
}

fn stored(t: &mut Tape, names: ImageBuffers, data: &Dataset, count: usize) -> StoredImages {
    // `check_stream` refuses a size beyond 32 bits before a step is recorded.
    let words = u32::try_from((data.pixels() * count).div_ceil(4)).unwrap_or(u32::MAX);
    StoredImages {
        pixels: t.named(names.pixels, Shape::u32([words])),
        labels: t.named(names.labels, Shape::u32([count as u32])),
        first: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Settings, Size};

    #[test]
    fn buffers_of_streamed_images_must_fit_the_part_of_a_rank() {
        let settings = Settings { validation_count: Some(10), ..Settings::default() };
        let config = settings.resolve(Size::Tiny).unwrap();
        let problem = |first, count, limit| {
            let loader = DataLoader { streamed: true, random_flip: false, part: BatchPart { first, count, whole: 12 } };
            loader.check_stream(&config, 784, limit).err().map(|problem| problem.to_string())
        };
        let (ring, half) = (32 * 12 * 784, 32 * 6 * 784);
        assert_eq!(problem(0, 12, ring), None);
        let whole = problem(0, 12, ring - 1).unwrap();
        assert!(whole.contains("a ring of 32 batches") && whole.contains("smaller --batch"), "{whole}");
        assert_eq!(problem(6, 6, half), None, "each of two ranks holds half of the ring");
        assert!(problem(6, 6, half - 1).is_some());
        let validation = problem(0, 0, 10 * 784 - 1).unwrap();
        assert!(validation.contains("smaller --validation-count"), "{validation}");
    }
}
