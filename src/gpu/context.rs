//! A device together with its named buffers. Every program that runs on a device needs one.

use super::buffers::{Buffers, Readback};
use super::device::Gpu;
use super::kernel_choices::KernelChoices;
use super::submission::Submission;
use super::target::Target;
use crate::ranks::{Communicator, Single};
use crate::{Error, Result};
use std::rc::Rc;

/// Bytes that are uploaded at once. wgpu keeps a copy of each piece until it has arrived.
const UPLOAD: usize = 32 << 20;
/// Pieces after which an upload waits until they have arrived.
const PENDING: usize = 8;

/// An open device and the named buffers of one job on it.
///
/// Programs that are compiled for one context share the buffers that they name. Jobs whose buffers
/// have equal names but other sizes get separate contexts on one device: [`Context::fork`].
pub struct Context {
    /// The device.
    pub gpu: Rc<Gpu>,
    /// The named buffers.
    pub buffers: Buffers,
    /// Forms of kernels that this job must use, whatever is measured: those with which it was
    /// started.
    pub pinned: KernelChoices,
    /// The ranks that divide measurements and samples, and use the same forms of kernels. All of
    /// them must record and measure the same, in the same order. Training does not use them: see
    /// [`Trainer::on_ranks`](crate::train::Trainer::on_ranks).
    pub ranks: Rc<dyn Communicator>,
}

impl Context {
    /// Opens the best adapter, or the one with this number or part of its name; no buffers yet.
    ///
    /// # Errors
    /// No adapter, none that matches, or a device that cannot be opened.
    pub fn open(wanted: Option<&str>) -> Result<Context> {
        Ok(Context::new(Gpu::open(wanted)?))
    }

    /// A context without buffers on an open device.
    pub fn new(gpu: Gpu) -> Context {
        let (buffers, pinned) = (Buffers::default(), KernelChoices::default());
        Context { gpu: Rc::new(gpu), buffers, pinned, ranks: Rc::new(Single) }
    }

    /// Another context on the same device, without buffers.
    pub fn fork(&self) -> Context {
        let (buffers, pinned) = (Buffers::default(), self.pinned.clone());
        Context { gpu: self.gpu.clone(), buffers, pinned, ranks: self.ranks.clone() }
    }

    /// Like [`Context::fork`], for work that the other ranks do not share.
    pub fn fork_alone(&self) -> Context {
        Context { ranks: Rc::new(Single), ..self.fork() }
    }

    /// The kind of device that tapes must be recorded for.
    pub fn target(&self) -> Target {
        self.gpu.target()
    }

    /// The forms of kernels for the tapes of this context.
    pub fn kernel_choices(&self) -> KernelChoices {
        self.gpu.measured_choices().with(&self.pinned)
    }

    /// The forms of kernels of rank 0, which must have recorded its tapes. `recorded` are those
    /// that this rank has recorded.
    ///
    /// # Errors
    /// [`Error::Config`] if rank 0 sends something else.
    pub fn share_kernel_choices(&self, ranks: &dyn Communicator, recorded: &KernelChoices) -> Result<KernelChoices> {
        let own = self.kernel_choices().with(recorded);
        let problem = |e: serde_json::Error| Error::Config(format!("the forms of kernels of rank 0: {e}"));
        let mut text = serde_json::to_vec(&own).map_err(problem)?;
        ranks.broadcast(&mut text);
        serde_json::from_slice(&text).map_err(problem)
    }

    /// Makes sure that a named buffer of this size (bytes) exists. A new one is filled with zeros.
    ///
    /// # Errors
    /// Out of memory, or a buffer of this name and another size.
    pub fn require(&mut self, name: &str, bytes: u64) -> Result<()> {
        match self.buffers.get(name) {
            Some(buffer) if buffer.size() == bytes => Ok(()),
            Some(buffer) => {
                let present = buffer.size();
                Err(Error::Config(format!("the buffer `{name}` has {present} bytes, but {bytes} are needed")))
            }
            None => {
                let buffer = self.gpu.allocate(name, bytes)?;
                self.buffers.insert(name, buffer);
                Ok(())
            }
        }
    }

    /// Writes `data` at `offset` bytes of a named buffer, before anything that is submitted later.
    /// Waits for the device if `data` is larger than 256 MiB.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no buffer of this name, [`Error::Device`] if the device was
    /// lost. Data that does not fit is reported by [`Gpu::check`].
    pub fn write<T: bytemuck::NoUninit>(&self, name: &str, offset: u64, data: &[T]) -> Result<()> {
        let buffer = self.buffers.buffer(name)?;
        let bytes = bytemuck::cast_slice::<T, u8>(data);
        for (number, (piece, offset)) in bytes.chunks(UPLOAD).zip((offset..).step_by(UPLOAD)).enumerate() {
            if number > 0 {
                self.gpu.submit(None);
            }
            // Frees the copies of the pieces that wgpu made.
            if number > 0 && number % PENDING == 0 {
                self.gpu.wait()?;
            }
            self.gpu.queue.write_buffer(buffer, offset, piece);
        }
        Ok(())
    }

    /// [`Context::write`] at the start of a buffer; does nothing if no program has named the buffer
    /// or `data` is empty.
    ///
    /// # Errors
    /// As [`Context::write`].
    pub fn write_if_present<T: bytemuck::NoUninit>(&self, name: &str, data: &[T]) -> Result<()> {
        if self.buffers.contains(name) && !data.is_empty() { self.write(name, 0, data) } else { Ok(()) }
    }

    /// Reads `count` values at `offset` bytes of a named buffer; waits for the device.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no buffer of this name, [`Error::Device`] if the device was
    /// lost.
    pub fn read<T: bytemuck::Pod>(&self, name: &str, offset: u64, count: usize) -> Result<Vec<T>> {
        let bytes = (count * size_of::<T>()) as u64;
        self.start_read(name, offset, bytes)?.wait(&self.gpu)
    }

    /// Starts to read `bytes` at `offset`, as they are after everything submitted so far, without
    /// waiting.
    ///
    /// # Errors
    /// As [`Context::read`].
    pub fn start_read(&self, name: &str, offset: u64, bytes: u64) -> Result<Readback> {
        self.gpu.start_read(self.buffers.buffer(name)?, offset, bytes)
    }

    /// Waits until a submission has run.
    ///
    /// # Errors
    /// As [`Gpu::wait_for`].
    pub fn wait_for(&self, submission: &Submission) -> Result<()> {
        self.gpu.wait_for(submission)
    }
}
