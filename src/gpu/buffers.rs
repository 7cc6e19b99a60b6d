//! Named persistent buffers, shared by the programs that name them, and reading back from them.

use super::device::Gpu;
use super::pipeline::Submission;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

/// Buffers that outlive a program's run, by name: parameters, optimizer state, the data set, results. Two programs that name one share it.
#[derive(Default)]
pub struct Memory {
    buffers: BTreeMap<String, wgpu::Buffer>,
}

impl Memory {
    /// No buffers yet: programs make those they name.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Makes sure that a buffer of this name and size (bytes) is there; a new one is zero.
    ///
    /// # Errors
    /// Out of memory, or one of another size is there.
    pub fn require(&mut self, gpu: &Gpu, name: &str, bytes: u64) -> Result<()> {
        match self.buffers.get(name) {
            Some(buffer) if buffer.size() == bytes => Ok(()),
            Some(buffer) => {
                Err(Error::Config(format!("memory `{name}` has {} bytes, but {bytes} are wanted", buffer.size())))
            }
            None => {
                self.buffers.insert(name.to_owned(), gpu.allocate(name, bytes)?);
                Ok(())
            }
        }
    }

    /// Whether a buffer of this name is there.
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

    pub(super) fn buffer(&self, name: &str) -> Result<&wgpu::Buffer> {
        self.buffers.get(name).ok_or_else(|| Error::Config(format!("there is no memory `{name}`")))
    }

    /// Writes `data` at `offset` bytes, before anything that is submitted later.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no memory of this name. Data that does not fit is reported by [`Gpu::check`].
    pub fn write<T: bytemuck::NoUninit>(&self, gpu: &Gpu, name: &str, offset: u64, data: &[T]) -> Result<()> {
        gpu.queue.write_buffer(self.buffer(name)?, offset, bytemuck::cast_slice(data));
        Ok(())
    }

    /// [`Memory::write`] from the beginning, if any program has named the memory and there is something to write.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn write_if_there<T: bytemuck::NoUninit>(&self, gpu: &Gpu, name: &str, data: &[T]) -> Result<()> {
        if self.contains(name) && !data.is_empty() { self.write(gpu, name, 0, data) } else { Ok(()) }
    }

    /// Reads `count` values at `offset` bytes; waits for the device.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no memory of this name, [`Error::Device`] if the device was lost.
    pub fn read<T: bytemuck::Pod>(&self, gpu: &Gpu, name: &str, offset: u64, count: usize) -> Result<Vec<T>> {
        let bytes = (count * size_of::<T>()) as u64;
        self.start_read(gpu, name, offset, bytes)?.wait(gpu)
    }

    /// Starts to read `bytes` at `offset` as they are after everything submitted so far, without waiting.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn start_read(&self, gpu: &Gpu, name: &str, offset: u64, bytes: u64) -> Result<Readback> {
        gpu.start_read(self.buffer(name)?, offset, bytes)
    }
}

/// Bytes on their way from the device.
pub struct Readback {
    staging: wgpu::Buffer,
    mapped: Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    submitted: Submission,
    bytes: usize,
}

impl Readback {
    /// Waits for what was submitted before the read began, and returns the values.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn wait<T: bytemuck::Pod>(self, gpu: &Gpu) -> Result<Vec<T>> {
        gpu.wait_for(&self.submitted)?;
        let lost = || Error::Device("a read was abandoned: the device was lost".into());
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
            return Err(Error::TooLarge { what: format!("memory `{name}`"), bytes, limit, advice });
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
        let submitted = Submission(self.queue.submit([encoder.finish()]));
        let (sender, mapped) = channel();
        staging.slice(..).map_async(wgpu::MapMode::Read, move |result| {
            let _ = sender.send(result); // the receiver is gone only if nobody waits any more
        });
        self.check()?;
        Ok(Readback { staging, mapped, submitted, bytes: bytes as usize })
    }
}
