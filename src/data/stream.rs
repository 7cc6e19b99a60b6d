//! Batches for a device whose memory cannot hold the data set. A thread gathers them while the
//! device works on the previous ones.
//!
//! Host only. It does not know steps or batches: the caller says which images are in each chunk.

use super::dataset::Dataset;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Chunks that wait in the channel. The thread holds one more finished chunk until there is room
/// for it, so two are prepared ahead.
const WAITING: usize = 1;
/// Chunks are padded to a multiple of this many bytes, like all storage on the device.
const PADDING: usize = 16;

/// Images and labels of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// `[count, channels, height, width]` bytes, padded with zeros to a multiple of 16.
    pub pixels: Vec<u8>,
    /// `[count]`.
    pub labels: Vec<u32>,
}

/// An endless sequence of chunks of a data set. At most two are prepared ahead.
///
/// Dropping it ends the thread. A panic in the thread is resumed by [`Stream::next`], or when the
/// stream is dropped.
pub struct Stream {
    /// `None` only while the stream is dropped.
    chunks: Option<Receiver<Chunk>>,
    thread: Cell<Option<JoinHandle<()>>>,
    waits: Cell<u64>,
}

impl Stream {
    /// Starts to prepare the chunks from `first_chunk` on. `order` returns the image numbers of a
    /// chunk. It runs in the thread.
    ///
    /// # Panics
    /// If the operating system cannot start a thread. If `order` returns an image number that does
    /// not exist, [`Stream::next`] panics.
    pub fn start(dataset: Arc<Dataset>, order: impl Fn(u64) -> Vec<u32> + Send + 'static, first_chunk: u64) -> Stream {
        let (sender, chunks) = sync_channel(WAITING);
        let thread = thread::spawn(move || prepare(&dataset, order, first_chunk, &sender));
        Stream { chunks: Some(chunks), thread: Cell::new(Some(thread)), waits: Cell::new(0) }
    }

    /// The next chunk. Waits until it is ready.
    ///
    /// # Panics
    /// With the thread's panic, if it panicked.
    pub fn next(&self) -> Chunk {
        let ready = self.chunks.as_ref().map(Receiver::try_recv);
        if let Some(Ok(chunk)) = ready {
            return chunk;
        }
        self.waits.set(self.waits.get() + 1);
        match self.chunks.as_ref().map(Receiver::recv) {
            Some(Ok(chunk)) => chunk,
            // While the receiver exists, only a panic ends the thread.
            _ => match self.thread.take().map(JoinHandle::join) {
                Some(Err(panic)) => resume_unwind(panic),
                _ => panic!("Stream: the thread that prepares it has panicked before"),
            },
        }
    }

    /// Number of chunks that were not ready when they were asked for.
    pub fn waits(&self) -> u64 {
        self.waits.get()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and so does a send that is waiting now.
        self.chunks = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

fn prepare(dataset: &Dataset, order: impl Fn(u64) -> Vec<u32>, first_chunk: u64, sender: &SyncSender<Chunk>) {
    for number in first_chunk.. {
        // An error means that the stream was dropped.
        if sender.send(gather(dataset, &order(number))).is_err() {
            return;
        }
    }
}

fn gather(dataset: &Dataset, images: &[u32]) -> Chunk {
    let length = (images.len() * dataset.pixels()).next_multiple_of(PADDING);
    let mut pixels = Vec::with_capacity(length);
    for &image in images {
        assert!((image as usize) < dataset.count, "Stream: there is no image {image} among {}", dataset.count);
        pixels.extend_from_slice(dataset.image(image as usize));
    }
    pixels.resize(length, 0);
    Chunk { pixels, labels: images.iter().map(|&image| dataset.labels[image as usize]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Statistics;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    /// Seven images of 1 x 3 pixels: 0 1 2, 3 4 5, and so on, with the labels 0, 10, 20.
    fn dataset() -> Arc<Dataset> {
        let images: Vec<u8> = (0..21).collect();
        Arc::new(Dataset {
            name: "small".into(),
            statistics: Statistics::new(&images),
            images: images.into(),
            labels: (0..7).map(|n| 10 * n).collect(),
            count: 7,
            channels: 1,
            height: 1,
            width: 3,
            classes: 61,
            class_names: vec![],
            mirrors: false,
            files: vec![],
            notes: vec![],
        })
    }

    /// Waits until a condition holds; false if it does not within ten seconds.
    fn soon(condition: impl Fn() -> bool) -> bool {
        let began = Instant::now();
        while !condition() && began.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
        condition()
    }

    fn message(panic: Box<dyn std::any::Any + Send>) -> String {
        panic.downcast_ref::<String>().cloned().unwrap_or_else(|| panic.downcast_ref::<&str>().unwrap().to_string())
    }

    #[test]
    fn stream_gives_chunks_in_order() {
        let stream = Stream::start(dataset(), |chunk| vec![chunk as u32 % 7, (chunk as u32 + 3) % 7], 5);
        for chunk in 5..30u32 {
            let [a, b] = [chunk % 7, (chunk + 3) % 7];
            let mut pixels: Vec<u8> =
                [a, b].into_iter().flat_map(|n| [3 * n, 3 * n + 1, 3 * n + 2]).map(|n| n as u8).collect();
            pixels.resize(16, 0);
            assert_eq!(stream.next(), Chunk { pixels, labels: vec![10 * a, 10 * b] });
        }
    }

    #[test]
    fn stream_pads_chunks_to_sixteen_bytes() {
        let lengths = |count: u32| Stream::start(dataset(), move |_| vec![1; count as usize], 0).next().pixels.len();
        assert_eq!([0, 1, 5, 6, 16].map(lengths), [0, 16, 16, 32, 48]);
    }

    #[test]
    fn stream_is_two_chunks_ahead_and_stops_when_dropped() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let stream = Stream::start(
            dataset(),
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                vec![0]
            },
            0,
        );
        for taken in 0..4 {
            assert!(soon(|| asked.load(Ordering::SeqCst) == taken + 2));
            // Enough time for the thread to continue, if it did.
            thread::sleep(Duration::from_millis(20));
            assert_eq!(asked.load(Ordering::SeqCst), taken + 2);
            stream.next();
        }
        drop(stream);
        // The thread, which was the other owner, has ended.
        assert_eq!(Arc::strong_count(&asked), 1);
    }

    #[test]
    fn stream_passes_panics_on() {
        let stream = Stream::start(dataset(), |chunk| vec![chunk as u32 + 6], 0);
        assert_eq!(stream.next().labels, [60]);
        let next = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.next())).unwrap_err();
        assert_eq!(message(next()), "Stream: there is no image 7 among 7");
        assert!(message(next()).contains("panicked before"));
        drop(stream);

        let stream = Stream::start(dataset(), |_| panic!("no order"), 0);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(stream)));
        assert_eq!(message(dropped.unwrap_err()), "no order");
    }
}
