//! One open device: its target, its pipelines, its errors.

use super::OFFSET_ALIGNMENT;
use super::adapter::{self, AdapterChoice};
use super::faults;
use super::first_dispatch::{Compilers, NewKernel};
use super::kernel_choices::KernelChoices;
use super::measured::Measured;
use super::pace::Pace;
use super::pipeline::{BoundsChecks, Pipeline};
use super::pipeline_cache::PipelineCache;
use super::shader::Entry;
use super::submission::Submission;
use super::submission_counter::SubmissionCounter;
use super::target::Target;
use super::wait::{self, catch_loss, wait_until};
use crate::output::note;
use crate::{Error, Result};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Kernels count bytes and elements with 32 bits.
const MOST_BYTES: u64 = u32::MAX as u64 / OFFSET_ALIGNMENT * OFFSET_ALIGNMENT;

/// The largest binding of a device that allows `bytes`. Metal allows all of its memory.
fn largest_binding(bytes: u64) -> u64 {
    bytes.min(MOST_BYTES)
}

/// An open device. A process opens one, and makes a [`Context`](super::Context) from it.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pipelines: RefCell<PipelineCache>,
    /// The measured forms of kernels, if they are measured.
    measured: RefCell<Option<Measured>>,
    pace: Pace,
    adapter: AdapterChoice,
    failure: Failure,
    pub(super) counter: SubmissionCounter,
    /// Submissions that the device has finished.
    finished: Arc<AtomicU64>,
    /// Whether the user was warned that the device does not answer.
    warned: Cell<bool>,
}

/// The first failure that the device has reported.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    fn note(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    fn error(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().map(Error::Device)
    }
}

impl Gpu {
    /// Opens the best adapter, or the one with this number or with this part of its name.
    ///
    /// # Errors
    /// No adapter, none that matches, or a device that cannot be opened.
    pub fn open(wanted: Option<&str>) -> Result<Gpu> {
        Gpu::open_with(wanted, BoundsChecks::Off)
    }

    /// [`Gpu::open`] with or without run-time checks in the kernels.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub fn open_with(wanted: Option<&str>, checks: BoundsChecks) -> Result<Gpu> {
        let (choice, adapter) = adapter::choose(wanted)?;
        let target = Target::choose(adapter::capabilities(&adapter));
        let wanted = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64 | wgpu::Features::TIMESTAMP_QUERY;
        let features = adapter.features() & wanted;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("degrain"),
            required_features: features,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Adapter(format!("{choice} cannot be opened: {e}. Choose another with --adapter")))?;

        let failure = Failure::default();
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| uncaptured.note(error.to_string())));
        let lost = failure.clone();
        // The reason does not matter: nothing here destroys a device in use.
        device.set_device_lost_callback(move |_, message| lost.note(lost_message(&message)));
        let counter = SubmissionCounter::new(&device)?;
        let compilers = Compilers::new(adapter, choice.class, features);
        let pipelines = RefCell::new(PipelineCache::new(target, checks, compilers));
        let pace = Pace::default();
        pace.set_fixed(faults::fixed_calls());
        let gpu = Gpu {
            device,
            queue,
            pipelines,
            measured: RefCell::default(),
            pace,
            adapter: choice,
            failure,
            counter,
            finished: Arc::default(),
            warned: Cell::default(),
        };
        gpu.check()?;
        Ok(gpu)
    }

    /// The adapter that was opened.
    pub fn adapter(&self) -> &AdapterChoice {
        &self.adapter
    }

    /// The target that tapes are recorded for.
    pub fn target(&self) -> Target {
        self.pipelines.borrow().target()
    }

    /// Uses this target from now on. Tests and benches compare kernel variants on one device.
    pub fn set_target(&self, target: Target) {
        self.pipelines.borrow_mut().set_target(target);
    }

    /// From now on, programs choose the fastest forms of kernels by measurement. The choices are
    /// kept in files of this folder, for the next program on the same device.
    pub fn measure_kernels(&self, folder: Option<&Path>) {
        *self.measured.borrow_mut() = Some(Measured::new(&self.adapter, self.target(), folder));
    }

    /// Whether programs choose forms of kernels by measurement.
    pub fn measures_kernels(&self) -> bool {
        self.measured.borrow().is_some()
    }

    /// The forms of kernels that were measured so far.
    pub(super) fn measured_choices(&self) -> KernelChoices {
        self.measured.borrow().as_ref().map(|measured| measured.choices().clone()).unwrap_or_default()
    }

    /// Adds the choices that `measure` makes, given the choices that are known. Does nothing if
    /// kernels are not measured.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn add_measured(&self, measure: impl FnOnce(&KernelChoices) -> Result<KernelChoices>) -> Result<()> {
        // Taken out, because `measure` uses the device.
        let Some(mut measured) = self.measured.borrow_mut().take() else { return Ok(()) };
        let outcome = measured.add(measure);
        *self.measured.borrow_mut() = Some(measured);
        outcome
    }

    /// The rate of the device, by which programs are split into submissions.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Size of the largest binding in bytes, below 4 GiB. A tensor may not be larger.
    pub fn max_binding(&self) -> u64 {
        largest_binding(self.device.limits().max_storage_buffer_binding_size)
    }

    /// Whether the device can measure the time of its kernels.
    pub fn has_time_stamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Uses `text` for a shader or for a file of the prelude (`prelude/common`) from now on; `None`
    /// restores the original. The mutation tests need it.
    pub fn replace_shader(&self, name: &str, text: Option<String>) {
        self.pipelines.borrow_mut().replace_shader(name, text);
    }

    pub(super) fn pipeline(&self, entry: &'static Entry, constants: &[f64]) -> Rc<Pipeline> {
        self.pipelines.borrow_mut().pipeline((&self.device, &self.queue), entry, constants)
    }

    /// Compiles the kernels that are new, by several threads.
    pub(super) fn compile<'a>(&self, kernels: impl IntoIterator<Item = NewKernel<'a>>) {
        self.pipelines.borrow_mut().compile((&self.device, &self.queue), kernels);
    }

    /// Fails if the device has reported an error since it was opened.
    ///
    /// # Errors
    /// [`Error::Device`] with the first report: the device was lost, or it rejected a command.
    pub fn check(&self) -> Result<()> {
        self.failure.error().map_or(Ok(()), Err)
    }

    /// Makes [`Gpu::check`] fail from now on, and returns its error.
    pub(super) fn fail(&self, message: String) -> Error {
        self.failure.note(message.clone());
        self.failure.error().unwrap_or(Error::Device(message))
    }

    /// Submits the commands of an encoder, or only the writes before it and their count.
    pub(super) fn submit(&self, encoder: Option<wgpu::CommandEncoder>) -> wgpu::SubmissionIndex {
        let encoder = encoder.unwrap_or_else(|| {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            self.counter.count(&mut encoder.begin_compute_pass(&Default::default()));
            encoder
        });
        let index = faults::submit(&self.device, &self.queue, encoder);
        let finished = self.finished.clone();
        self.queue.on_submitted_work_done(move || {
            finished.fetch_add(1, Ordering::Relaxed);
        });
        index
    }

    /// Waits until a submitted run has finished.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, or has reported another error.
    pub fn wait_for(&self, submission: &Submission) -> Result<()> {
        let began = Instant::now();
        self.wait_with(Some(&submission.index))?;
        self.pace.ended(submission.submitted, began);
        Ok(())
    }

    /// Waits until everything submitted has finished.
    ///
    /// # Errors
    /// As [`Gpu::wait_for`].
    pub fn wait(&self) -> Result<()> {
        let began = Instant::now();
        self.wait_with(None)?;
        self.pace.ended(began, began);
        Ok(())
    }

    /// Waits for a submission, or for all of them. Warns once if the device does not answer.
    fn wait_with(&self, index: Option<&wgpu::SubmissionIndex>) -> Result<()> {
        let poll = || {
            let timeout = Some(wait::INTERVAL);
            let kind = wgpu::PollType::Wait { submission_index: index.cloned(), timeout };
            match catch_loss(|| faults::poll(&self.device, kind)) {
                Some(Ok(_)) => Ok(true),
                Some(Err(wgpu::PollError::Timeout)) => Ok(false),
                // A lost device does not know later submissions. Its callback has given the cause.
                Some(Err(_)) | None => Err(self.fail(lost_message(""))),
            }
        };
        let warn = || {
            if !self.warned.replace(true) {
                note(wait::warning(&self.adapter));
            }
        };
        wait_until(poll, || self.finished.load(Ordering::Relaxed), warn)?;
        self.check()
    }
}

/// The message for a lost device, with the driver's words if there are any.
fn lost_message(cause: &str) -> String {
    let cause = if cause.is_empty() { String::new() } else { format!(" ({cause})") };
    format!("the device was lost{cause}. Start again, with a smaller batch or model if it happens again")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `gather_batch` counts bytes: those of a larger binding would wrap.
    #[test]
    fn largest_binding_has_32_bit_indices_on_every_device() {
        assert_eq!(largest_binding(134_217_728), 134_217_728);
        let largest = largest_binding(64 << 30);
        assert!(u32::try_from(largest).is_ok() && largest > 4_294_000_000, "{largest}");
    }
}
