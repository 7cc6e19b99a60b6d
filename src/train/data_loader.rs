//! How images reach the device: all of them before training where the device can bind them, otherwise chunk after chunk, gathered by a thread
//! of their own. Both give the same batches, bit for bit: a streamed chunk holds the images that the permutation would have chosen.

use super::choices::{RandomFlip, Storage};
use super::settings::Config;
use super::step_uniforms;
use crate::data::{Dataset, Stream};
use crate::gpu::Context;
use crate::ops::{Order, permuted_images};
use crate::tape::{Shape, Tape, Tensor};
use crate::{Error, Result};
use std::sync::Arc;

/// Batches of a chunk: a multiple of four, so that chunks begin at whole words whatever the size of an image.
const CHUNK: u32 = 16;
/// Chunks in the ring on the device: one is used while the other is written.
const CHUNKS: u32 = 2;

const IMAGES: [&str; 2] = ["data.images", "data.labels"];
const RING: [&str; 2] = ["data.ring.images", "data.ring.labels"];
const HELD_BACK: [&str; 2] = ["data.held_back.images", "data.held_back.labels"];

/// A way for the images to reach the device.
#[derive(Clone, Copy, Debug)]
pub struct DataLoader {
    streamed: bool,
    random_flip: bool,
    batch: u32,
}

/// Images on a tape, and the number of the first that counts.
pub(super) struct Stored {
    pub pixels: Tensor,
    pub labels: Tensor,
    pub first: u32,
}

impl DataLoader {
    /// The way that the settings ask for on this device.
    ///
    /// # Errors
    /// A data set that is to lie on the device and is larger than its bindings.
    pub fn new(ctx: &Context, config: &Config, data: &Dataset) -> Result<DataLoader> {
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
        Ok(DataLoader { streamed, random_flip, batch: config.batch })
    }

    /// Whether images are streamed.
    pub fn streamed(&self) -> bool {
        self.streamed
    }

    pub(super) fn random_flip(&self) -> bool {
        self.random_flip
    }

    pub(super) fn order(&self) -> Order {
        if self.streamed { Order::Ring { slots: CHUNKS * CHUNK } } else { Order::Permuted }
    }

    pub(super) fn training(&self, t: &mut Tape, data: &Dataset) -> Stored {
        match self.streamed {
            true => stored(t, RING, data, (CHUNKS * CHUNK * self.batch) as usize, 0),
            false => stored(t, IMAGES, data, data.count, 0),
        }
    }

    pub(super) fn held_back(&self, t: &mut Tape, data: &Dataset, first: u32) -> Stored {
        match self.streamed {
            true => stored(t, HELD_BACK, data, data.count - first as usize, 0),
            false => stored(t, IMAGES, data, data.count, first),
        }
    }

    /// Writes the whole data set, or of a streamed one the images that are held back.
    pub(super) fn load(&self, ctx: &mut Context, data: &Dataset, training: u32) -> Result<()> {
        let (names, first) = if self.streamed { (HELD_BACK, training as usize) } else { (IMAGES, 0) };
        if first < data.count {
            let mut pixels = data.images[first * data.pixels()..].to_vec();
            pixels.resize(pixels.len().next_multiple_of(16), 0);
            let labels = &data.labels[first..];
            put(ctx, names[0], &pixels)?;
            put(ctx, names[1], bytemuck::cast_slice(labels))?;
        }
        Ok(())
    }

    /// The source of a run's chunks from step `step` on; `None` where all images lie on the device.
    pub(super) fn start(&self, config: &Config, data: &Arc<Dataset>, training: u32, step: u32) -> Option<Source> {
        if !self.streamed {
            return None;
        }
        let config = config.clone();
        let order = move |chunk: u64| {
            let first = chunk as u32 * CHUNK;
            (first..first + CHUNK)
                .flat_map(|n| {
                    let step = step_uniforms::step(&config, training, n);
                    permuted_images(config.seed, training, step.epoch, step.position, config.batch)
                })
                .collect()
        };
        let chunk = u64::from(step / CHUNK);
        Some(Source { stream: Stream::start(data.clone(), order, chunk), written: chunk, batch: self.batch })
    }
}

/// Chunks on their way to the device.
pub(super) struct Source {
    stream: Stream,
    written: u64,
    batch: u32,
}

impl Source {
    /// Makes sure that the images of step `n` are on the device before anything that is submitted later.
    pub fn provide(&mut self, ctx: &Context, n: u32) -> Result<()> {
        let wanted = u64::from(n / CHUNK);
        while self.written <= wanted {
            let chunk = self.stream.next();
            let images = (self.written % u64::from(CHUNKS)) * u64::from(CHUNK * self.batch);
            let each = chunk.pixels.len() as u64 / u64::from(CHUNK * self.batch);
            ctx.write(RING[0], images * each, &chunk.pixels)?;
            ctx.write(RING[1], images * 4, &chunk.labels)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn put(ctx: &mut Context, name: &str, bytes: &[u8]) -> Result<()> {
    ctx.require(name, (bytes.len() as u64).next_multiple_of(16))?;
    ctx.write(name, 0, bytes)
}

fn stored(t: &mut Tape, names: [&str; 2], data: &Dataset, count: usize, first: u32) -> Stored {
    let words = (data.pixels() * count).div_ceil(4) as u32;
    Stored {
        pixels: t.named(names[0], Shape::u32([words])),
        labels: t.named(names[1], Shape::u32([count as u32])),
        first,
    }
}
