//! Images as they are drawn, kept in a file until the evaluation is written: one that was interrupted goes on where it was.
//!
//! A record is a batch: its seconds as eight bytes, and its images. The file's name is a sum of all that decides what is drawn.

use super::samples::Order;
use crate::diffusion::ResolvedSampling;
use crate::diffusion::pipeline::Pipeline;
use crate::files::Appender;
use crate::gpu::Context;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// Folder of these files in that of the evaluation.
pub const FOLDER: &str = "drawing";

/// The batches of one drawing.
pub struct SampleCache {
    file: Appender,
    /// Images that are there, bytes `[N, C, H, W]`.
    pub bytes: Vec<u8>,
    /// Seconds that they took.
    pub seconds: f64,
}

impl SampleCache {
    /// Opens the file of a drawing, with whole batches of what is there.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(
        folder: &Path,
        ctx: &Context,
        pipeline: &Pipeline,
        way: &ResolvedSampling,
        order: Order,
        pixels: usize,
    ) -> Result<SampleCache> {
        let path = folder.join(FOLDER).join(name(ctx, pipeline, way, order));
        let mut file = Appender::open(&path)?;
        let content = fs::read(&path).map_err(Error::io(&path))?;
        let record = 8 + order.batch.min(order.count) as usize * pixels;
        let whole = content.len() / record;
        file.cut((whole * record) as u64)?;
        let (mut bytes, mut seconds) = (vec![], 0.0);
        for record in content.chunks_exact(record) {
            let (time, images) = record.split_at(8);
            seconds += f64::from_le_bytes(std::array::from_fn(|i| time[i]));
            bytes.extend(images);
        }
        Ok(SampleCache { file, bytes, seconds })
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// A full disk.
    pub fn add(&mut self, images: &[u8], seconds: f64) -> Result<()> {
        self.file.append(&[&seconds.to_le_bytes()[..], images].concat())?;
        self.bytes.extend(images);
        self.seconds += seconds;
        Ok(())
    }
}

fn name(ctx: &Context, pipeline: &Pipeline, way: &ResolvedSampling, order: Order) -> String {
    let mut sum = Sha256::new();
    sum.update(bytemuck::cast_slice::<f32, u8>(&pipeline.weights));
    let (version, adapter) = (env!("CARGO_PKG_VERSION"), ctx.gpu.adapter());
    sum.update(format!(
        "{version} {adapter} {} {:?} {:?} {} {order:?}",
        ctx.target(),
        way.plan,
        way.scheduler,
        way.guidance
    ));
    sum.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes what was kept, once the evaluation is written.
///
/// # Errors
/// A folder that cannot be removed.
pub fn clear(folder: &Path) -> Result<()> {
    let folder = folder.join(FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&folder)(error)),
        _ => Ok(()),
    }
}
