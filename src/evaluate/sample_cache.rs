//! Cache of samples on disk, so that an interrupted evaluation can resume.
//!
//! Each record of the file is a batch: its sampling time in seconds (eight bytes) and its images.
//! The file name is a SHA-256 of everything that determines the samples.

use crate::checkpoint::Checkpoint;
use crate::diffusion::{SAMPLERS_VERSION, Sampling};
use crate::files::{Appender, remove_file};
use crate::metrics::padding::ImagePadding;
use crate::ranks::Communicator;
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The cached batches of one set of samples.
pub(super) struct SampleCache {
    /// On rank 0.
    file: Option<Appender>,
    /// Cached images, bytes `[N, C, H, W]`.
    pub bytes: Vec<u8>,
    /// Seconds spent on sampling these images.
    pub seconds: f64,
}

impl SampleCache {
    /// Opens the cache `name` in an evaluation's folder on rank 0, which sends its images to the
    /// others.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(ranks: &dyn Communicator, folder: &Path, name: &str, batch_bytes: usize) -> Result<SampleCache> {
        let mut cache = if ranks.is_first() {
            SampleCache::read(folder, name, batch_bytes)?
        } else {
            SampleCache { file: None, bytes: vec![], seconds: 0.0 }
        };
        ranks.broadcast(&mut cache.bytes);
        Ok(cache)
    }

    /// Opens the cache `name` in an evaluation's folder and reads its complete batches
    /// of `batch_bytes` bytes. An incomplete batch at the end is removed.
    fn read(folder: &Path, name: &str, batch_bytes: usize) -> Result<SampleCache> {
        let path = folder.join(format!(".samples-{name}"));
        let mut file = Appender::open(&path)?;
        let content = fs::read(&path).map_err(Error::io(&path))?;
        let record = 8 + batch_bytes;
        let complete = content.len() / record;
        file.cut((complete * record) as u64)?;
        let mut bytes = vec![];
        let mut seconds = 0.0;
        for record in content.chunks_exact(record) {
            let (time, images) = record.split_at(8);
            seconds += f64::from_le_bytes(std::array::from_fn(|i| time[i]));
            bytes.extend(images);
        }
        Ok(SampleCache { file: Some(file), bytes, seconds })
    }

    /// Path of the cache, on rank 0.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(Appender::path)
    }

    /// Adds a batch.
    pub fn add(&mut self, images: &[u8], seconds: f64) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.append(&[&seconds.to_le_bytes()[..], images].concat())?;
        }
        self.bytes.extend(images);
        self.seconds += seconds;
        Ok(())
    }
}

/// What determines samples, in addition to model and sampler.
pub(super) struct Drawn<'a> {
    /// The class of each sample, which is from the data.
    pub labels: &'a [u32],
    /// The border that is cut off.
    pub padding: ImagePadding,
    pub batch: u32,
    pub seed: u64,
}

/// The file name for samples of a model. `device` is the device with the kernels' target.
pub(super) fn cache_name(device: &str, checkpoint: &Checkpoint, sampling: &Sampling, drawn: &Drawn<'_>) -> String {
    let Drawn { labels, padding, batch, seed } = drawn;
    let mut hash = Sha256::new();
    hash.update(bytemuck::cast_slice::<f32, u8>(&checkpoint.weights));
    hash.update(format!(
        "{} {SAMPLERS_VERSION} {device} {:?} {:?} {sampling:?} {labels:?} {padding:?} {batch} {seed}",
        env!("CARGO_PKG_VERSION"),
        checkpoint.metadata,
        checkpoint.scheduler,
    ));
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes caches after the evaluation was written. Another evaluation in the same folder keeps its
/// caches.
pub(super) fn remove(caches: &[PathBuf]) -> Result<()> {
    caches.iter().try_for_each(|path| remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::SamplingOptions;

    #[test]
    fn name_depends_on_the_model_the_sampler_and_what_is_drawn() {
        let mut checkpoint =
            Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mnist-tiny")).unwrap();
        let name =
            |checkpoint: &Checkpoint, device: &str, guidance: f32, labels: &[u32], side: u32, numbers: [u32; 2]| {
                let asked = SamplingOptions { guidance: Some(guidance), ..SamplingOptions::default() };
                let padding = ImagePadding::new([1, 28, 28], [1, side, side]).unwrap();
                let [batch, seed] = numbers;
                let drawn = Drawn { labels, padding, batch, seed: seed.into() };
                cache_name(device, checkpoint, &checkpoint.sampling(asked).unwrap(), &drawn)
            };
        let base = name(&checkpoint, "GPU", 1.5, &[0, 1], 28, [64, 0]);
        assert_eq!(base, name(&checkpoint, "GPU", 1.5, &[0, 1], 28, [64, 0]));
        let mut others = vec![
            name(&checkpoint, "other GPU", 1.5, &[0, 1], 28, [64, 0]),
            name(&checkpoint, "GPU", 1.0, &[0, 1], 28, [64, 0]),
            name(&checkpoint, "GPU", 1.5, &[0, 2], 28, [64, 0]),
            name(&checkpoint, "GPU", 1.5, &[0, 1], 32, [64, 0]),
            name(&checkpoint, "GPU", 1.5, &[0, 1], 28, [32, 0]),
            name(&checkpoint, "GPU", 1.5, &[0, 1], 28, [64, 1]),
        ];
        checkpoint.weights[0] += 1.0;
        others.push(name(&checkpoint, "GPU", 1.5, &[0, 1], 28, [64, 0]));
        assert!(!others.contains(&base), "{others:?}");
    }
}
