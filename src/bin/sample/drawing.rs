//! Draws images batch by batch, and keeps finished batches. Several ranks draw batches in turn, and
//! rank 0 keeps them.

use super::header::PartHeader;
use super::store::Store;
use degrain::cli::Progress;
use degrain::diffusion::{Observer, SampledImages};
use degrain::error::check_stop;
use degrain::files::PartFile;
use degrain::output::images::to_bytes;
use degrain::output::{counted, note};
use degrain::ranks::{Communicator, gather};
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
            note(format_args!(
                "{}: continues after {} of {}",
                path.display(),
                part.count(),
                counted(self.count, "image")
            ));
        }
        Ok(Store::File(part))
    }

    /// Draws the missing images. Each finished batch is added to the store, which only rank 0 has.
    ///
    /// # Errors
    /// [`Error::Interrupted`] on all ranks if `stop` is set on one, [`Error::NonFinite`], and
    /// errors of device and disk. The finished batches stay in the store.
    pub fn run(
        &self,
        mut store: Option<&mut Store>,
        ranks: &dyn Communicator,
        draw: &mut Draw<'_>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let progress = store.as_ref().map(|_| Progress::new());
        let show = |images: f64| match &progress {
            Some(progress) => progress.set(images / f64::from(self.count)),
            None => Ok(()),
        };
        let mut start = store.as_ref().map_or(0, |store| store.count()).to_le_bytes().to_vec();
        ranks.broadcast(&mut start);
        let mut first = u32::from_le_bytes(start.try_into().expect("rank 0 sent a number of images"));
        let size = ranks.size() as u32;
        while first < self.count {
            show(f64::from(first))?;
            let round = self.batch.saturating_mul(size).min(self.count - first);
            let own = first.saturating_add(ranks.rank() as u32 * self.batch).min(self.count);
            let own = own..own.saturating_add(self.batch).min(self.count);
            let records = self.draw_batch(own, draw, &mut |done| {
                check_stop(stop)?;
                show(f64::from(first) + done * f64::from(round))
            });
            for block in self.gather(records, ranks)? {
                if let Some(store) = &mut store {
                    store.append(&block)?;
                }
            }
            first += round;
        }
        Ok(())
    }

    /// The records of the images of a range, which may be empty.
    fn draw_batch(&self, images: Range<u32>, draw: &mut Draw<'_>, observer: &mut Observer<'_>) -> Result<Vec<u8>> {
        if images.is_empty() {
            return Ok(vec![]);
        }
        observer(0.0)?;
        let drawn = draw(images, observer)?;
        if drawn.images.iter().any(|x| !x.is_finite()) {
            return Err(Error::NonFinite(
                "the samples contain numbers that are not finite: the checkpoint may be damaged, or its training diverged"
                    .into(),
            ));
        }
        Ok(self.records(&drawn))
    }

    /// The records of all ranks, in their order.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if any rank was interrupted; other errors of this rank.
    fn gather(&self, records: Result<Vec<u8>>, ranks: &dyn Communicator) -> Result<Vec<Vec<u8>>> {
        let (interrupted, records) = match records {
            Err(Error::Interrupted) => (true, vec![]),
            records => (false, records?),
        };
        let messages = gather(ranks, &[&[u8::from(interrupted)][..], &records].concat());
        if messages.iter().any(|message| message[0] != 0) {
            return Err(Error::Interrupted);
        }
        Ok(messages.into_iter().map(|message| message[1..].to_vec()).collect())
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
