//! Named buffers that programs share, and reading buffers back.

use super::allocation::create_buffer;
use super::device::Gpu;
use super::submission::Submission;
use super::submission_counter::SubmissionCounter;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Buffers that outlive a run of a program, by name: parameters, optimizer state, the data set,
/// results. Programs that name the same buffer share it.
#[derive(Default)]
pub struct Buffers {
    buffers: BTreeMap<String, wgpu::Buffer>,
}

impl Buffers {
    pub(super) fn get(&self, name: &str) -> Option<&wgpu::Buffer> {
        self.buffers.get(name)
    }

    pub(super) fn insert(&mut self, name: &str, buffer: wgpu::Buffer) {
        self.buffers.insert(name.to_owned(), buffer);
    }

    pub(super) fn buffer(&self, name: &str) -> Result<&wgpu::Buffer> {
        self.buffers.get(name).ok_or_else(|| Error::Config(format!("there is no buffer `{name}` on the device")))
    }

    /// Whether a buffer of this name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.buffers.contains_key(name)
    }

    /// Size of a buffer in bytes; zero if there is none.
    pub fn bytes(&self, name: &str) -> u64 {
        self.buffers.get(name).map_or(0, wgpu::Buffer::size)
    }

    /// Bytes of all buffers.
    pub fn total_bytes(&self) -> u64 {
        self.buffers.values().map(wgpu::Buffer::size).sum()
    }
}

/// A read from the device that has been started.
pub struct Readback {
    staging: wgpu::Buffer,
    mapped: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    submitted: Submission,
    bytes: usize,
    /// Where the number of submissions that ran is.
    tail: usize,
    /// Its value if all of them ran.
    sent: u32,
}

impl Readback {
    /// Waits for everything submitted before the read was started, and returns the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, or did not run one of the submissions.
    pub fn wait<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        gpu.wait_for(&self.submitted)?;
        // The wait has called the callback of the mapping.
        match self.mapped.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(gpu.fail(error.to_string())),
            Err(_) => return Err(gpu.fail("a read did not finish: the device was lost".into())),
        }
        let view = self.staging.slice(..).get_mapped_range().map_err(|error| gpu.fail(error.to_string()))?;
        let ran: u32 = bytemuck::pod_read_unaligned(&view[self.tail..]);
        if ran != self.sent {
            return Err(gpu.fail(format!(
                "a submission did not run on the device, and the driver reported no error ({} were sent, {ran} ran). \
                 Start again, with a smaller batch or model if it happens again",
                self.sent
            )));
        }
        Ok(bytemuck::pod_collect_to_vec(&view[..self.bytes]))
    }
}

impl Gpu {
    /// A zeroed storage buffer.
    pub(super) fn allocate(&self, name: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(name), size: bytes, usage, mapped_at_creation: false };
        create_buffer(&self.device, &descriptor)
    }

    pub(super) fn start_read(&self, source: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Readback> {
        let size = bytes.next_multiple_of(4).max(4);
        let descriptor = wgpu::BufferDescriptor {
            label: Some("readback"),
            size: size + SubmissionCounter::BYTES,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let staging = create_buffer(&self.device, &descriptor)?;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, offset, &staging, 0, size);
        // The read counts itself: no other read writes this number into the memory of `staging`.
        self.counter.count(&mut encoder.begin_compute_pass(&Default::default()));
        let sent = self.counter.copy(&mut encoder, &staging, size);
        let index = self.submit(Some(encoder));
        let submitted = Submission { index, submitted: Instant::now() };
        let (sender, mapped) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result); // fails only if the readback was dropped
        });
        self.check()?;
        Ok(Readback { staging, mapped, submitted, bytes: bytes as usize, tail: size as usize, sent })
    }
}
