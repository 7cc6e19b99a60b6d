//! Named buffers that programs share, and reading buffers back.

use super::device::Gpu;
use super::submission::Submission;
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
}

impl Readback {
    /// Waits for everything submitted before the read was started, and returns the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn wait<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        gpu.wait_for(&self.submitted)?;
        let lost = || Error::Device("a read was canceled: the device was lost".into());
        self.mapped.recv().map_err(|_| lost())?.map_err(|e| Error::Device(e.to_string()))?;
        let view = self.staging.slice(..).get_mapped_range().map_err(|e| Error::Device(e.to_string()))?;
        let bytes: Vec<u8> = view[..self.bytes].to_vec();
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }
}

impl Gpu {
    /// A zeroed storage buffer.
    pub(super) fn allocate(&self, name: &str, bytes: u64) -> Result<wgpu::Buffer> {
        let limit = self.device.limits().max_buffer_size;
        if bytes > limit {
            let advice = "use a smaller batch or a smaller model".into();
            return Err(Error::TooLarge { what: format!("buffer `{name}`"), bytes, limit, advice });
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: Some(name), size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        match pollster::block_on(scope.pop()) {
            None => Ok(buffer),
            Some(_) => Err(Error::Device(format!(
                "out of memory: `{name}` needs {:.1} MB more. Use a smaller --batch or --size",
                bytes as f64 / 1e6
            ))),
        }
    }

    pub(super) fn start_read(&self, source: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Readback> {
        let descriptor = wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes.next_multiple_of(4).max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(source, offset, &staging, 0, descriptor.size);
        let index = self.queue.submit([encoder.finish()]);
        let submitted = Submission { index, work: 0.0, submitted: Instant::now() };
        let (sender, mapped) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result); // fails only if the readback was dropped
        });
        self.check()?;
        Ok(Readback { staging, mapped, submitted, bytes: bytes as usize })
    }
}
