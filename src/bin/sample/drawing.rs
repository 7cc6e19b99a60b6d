//! Draws images batch by batch, and keeps finished batches.

use super::header::PartHeader;
use super::store::Store;
use degrain::cli::Progress;
use degrain::diffusion::{Observer, SampledImages};
use degrain::error::check_stop;
use degrain::files::PartFile;
use degrain::output::counted;
use degrain::output::images::to_bytes;
use degrain::{Error, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// The images to draw.
pub struct Drawing {
    /// Number of images.
    pub count: u32,
    /// Images per batch.
    pub batch: u32,
    /// Bytes of an image.
    pub pixels: usize,
    /// States of an image that are kept, including the image itself.
    pub states: usize,
    /// Whether an image depends on the other images of its batch, as with the adaptive solver.
    pub whole_batches: bool,
}

/// Draws the images of a range.
pub type Draw<'a> = dyn FnMut(Range<u32>, &mut Observer<'_>) -> Result<SampledImages> + 'a;

impl Drawing {
    /// Opens the file of finished images for an output. A drawing of a single batch has none,
    /// unless there is a file already.
    pub fn open(&self, out: &Path, header: &PartHeader) -> Result<Store> {
        let path = PartFile::path_for(out);
        let record = self.pixels * self.states;
        if self.count <= self.batch && path.symlink_metadata().is_err() {
            return Ok(Store::Memory { bytes: vec![], record });
        }
        let mut part = PartFile::open(&path, &header.line(), record, &|line| header.explain(line))?;
        let batch = if self.whole_batches { u64::from(self.batch) } else { 1 };
        let whole = part.count().min(u64::from(self.count));
        part.truncate(if whole == u64::from(self.count) { whole } else { whole / batch * batch })?;
        if part.count() > 0 {
            eprintln!("{}: continues after {} of {}", path.display(), part.count(), counted(self.count, "image"));
        }
        Ok(Store::File(part))
    }

    /// Draws the missing images. Each finished batch is added to the store.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `stop` is set, [`Error::NonFinite`], and errors of device and
    /// disk. The finished batches stay in the store.
    pub fn run(&self, store: &mut Store, draw: &mut Draw<'_>, stop: &AtomicBool) -> Result<()> {
        let progress = Progress::new();
        while store.count() < self.count {
            check_stop(stop)?;
            let first = store.count();
            progress.set(f64::from(first) / f64::from(self.count))?;
            let last = first.saturating_add(self.batch).min(self.count);
            let drawn = draw(first..last, &mut |done| {
                check_stop(stop)?;
                progress.set((f64::from(first) + done * f64::from(last - first)) / f64::from(self.count))
            })?;
            if drawn.images.iter().any(|x| !x.is_finite()) {
                return Err(Error::NonFinite(
                    "the samples contain numbers that are not finite: the checkpoint may be damaged, or its training \
                     diverged"
                        .into(),
                ));
            }
            store.append(&self.records(&drawn))?;
        }
        Ok(())
    }

    /// The states of each image, one image after the other. The adaptive solver may return fewer
    /// states; the image itself takes their place.
    fn records(&self, drawn: &SampledImages) -> Vec<u8> {
        let images = to_bytes(&drawn.images);
        if self.states == 1 {
            return images;
        }
        let frames: Vec<Vec<u8>> = drawn.frames.iter().map(|frame| to_bytes(frame)).collect();
        let mut records = Vec::with_capacity(images.len() * self.states);
        for start in (0..images.len()).step_by(self.pixels) {
            for state in 0..self.states {
                records.extend(&frames.get(state).unwrap_or(&images)[start..start + self.pixels]);
            }
        }
        records
    }
}
