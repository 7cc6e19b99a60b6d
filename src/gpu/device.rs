//! One open device: its target, its pipelines, its errors.

use super::adapter::{self, AdapterChoice};
use super::pace::Pace;
use super::pipeline_cache::{BoundsChecks, Pipeline, PipelineCache};
use super::shader::Entry;
use super::submission::Submission;
use super::target::Target;
use crate::{Error, Result};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// An open device. A process opens one, and makes a [`Context`](super::Context) from it.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pipelines: RefCell<PipelineCache>,
    pace: Pace,
    adapter: AdapterChoice,
    failure: Arc<Mutex<Option<String>>>,
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
        let features = adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("degrain"),
            required_features: features,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|e| Error::Adapter(format!("{choice} cannot be opened: {e}. Choose another with --adapter")))?;

        let failure = Arc::new(Mutex::new(None));
        let note = |failure: &Arc<Mutex<Option<String>>>, message: String| {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        };
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| note(&uncaptured, error.to_string())));
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                note(&lost, format!("the device was lost ({message}); the last checkpoint is intact, resume from it"));
            }
        });
        let pipelines = RefCell::new(PipelineCache::new(target, checks));
        Ok(Gpu { device, queue, pipelines, pace: Pace::default(), adapter: choice, failure })
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

    /// The rate of the device, by which programs are split into submissions.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Size of the largest binding in bytes. A tensor may not be larger.
    pub fn max_binding(&self) -> u64 {
        self.device.limits().max_storage_buffer_binding_size
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
        self.pipelines.borrow_mut().pipeline(&self.device, entry, constants)
    }

    /// Fails if the device has reported an error since it was opened.
    ///
    /// # Errors
    /// [`Error::Device`] with the first report: the device was lost, or it rejected a command.
    pub fn check(&self) -> Result<()> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(message) => Err(Error::Device(message.clone())),
            None => Ok(()),
        }
    }

    /// Waits until a submitted run has finished.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost, or has reported another error.
    pub fn wait_for(&self, submission: &Submission) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission.index.clone()), timeout: None };
        let began = Instant::now();
        self.device.poll(wait).map_err(|e| Error::Device(e.to_string()))?;
        if submission.work > 0.0 {
            self.pace.ended(submission.work, submission.submitted, began);
        }
        self.check()
    }

    /// Waits until everything submitted has finished.
    ///
    /// # Errors
    /// As [`Gpu::wait_for`].
    pub fn wait(&self) -> Result<()> {
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device(e.to_string()))?;
        self.check()
    }
}
