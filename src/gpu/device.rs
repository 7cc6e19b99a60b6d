//! One open device: its limits, its errors, its pipelines.

use super::adapter::{self, AdapterChoice};
use super::pipeline::{PipelineCache, Submission};
use super::target::Target;
use crate::{Error, Result};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whether kernels are compiled with naga's run-time checks of array bounds and integer division. (Its third, a counter in every loop, stops
/// drivers from unrolling the loops that kernels depend on.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundsChecks {
    /// As WebGPU demands.
    On,
    /// Left out: the tests prove that no kernel leaves its buffers, and run both ways.
    Off,
}

/// An open GPU. One is made per process; programs and memory are made from it.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: RefCell<PipelineCache>,
    pub(super) checks: BoundsChecks,
    adapter: AdapterChoice,
    target: Cell<Target>,
    replaced: RefCell<HashMap<String, String>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the best adapter, or the one whose number or part of name is given.
    ///
    /// # Errors
    /// No adapter, none that matches, or a device that cannot be opened.
    pub fn open(wanted: Option<&str>) -> Result<Gpu> {
        Gpu::open_with(wanted, BoundsChecks::Off)
    }

    /// [`Gpu::open`], with the run-time checks named.
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
        Ok(Gpu {
            device,
            queue,
            pipelines: RefCell::default(),
            checks,
            adapter: choice,
            target: Cell::new(target),
            replaced: RefCell::default(),
            failure,
        })
    }

    /// The adapter that was taken.
    pub fn adapter(&self) -> &AdapterChoice {
        &self.adapter
    }

    /// The target that tapes are recorded for.
    pub fn target(&self) -> Target {
        self.target.get()
    }

    /// Uses this target from now on. Tests and benches compare kernel variants on one device.
    pub fn set_target(&self, target: Target) {
        self.pipelines.borrow_mut().clear();
        self.target.set(target);
    }

    /// The largest binding in bytes; a tensor may not be larger.
    pub fn max_binding(&self) -> u64 {
        self.device.limits().max_storage_buffer_binding_size
    }

    /// Compiles another text for a shader, or for a file of the prelude (`prelude/common`), from now on (its own again for `None`): how the
    /// mutation run reaches the device.
    pub fn replace_shader(&self, name: &str, text: Option<String>) {
        self.pipelines.borrow_mut().clear();
        let mut replaced = self.replaced.borrow_mut();
        match text {
            Some(text) => replaced.insert(name.to_owned(), text),
            None => replaced.remove(name),
        };
    }

    pub(super) fn replacement(&self, name: &str) -> Option<String> {
        self.replaced.borrow().get(name).cloned()
    }

    /// What the device has reported since it was opened, as an error.
    ///
    /// # Errors
    /// [`Error::Device`] with the first report: the device was lost, or refused a command.
    pub fn check(&self) -> Result<()> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(message) => Err(Error::Device(message.clone())),
            None => Ok(()),
        }
    }

    /// Waits until a run is over.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost before the run was over, or has reported anything else.
    pub fn wait_for(&self, ticket: &Submission) -> Result<()> {
        let submission = wgpu::PollType::Wait { submission_index: Some(ticket.0.clone()), timeout: None };
        self.device.poll(submission).map_err(|e| Error::Device(e.to_string()))?;
        self.check()
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// As [`Gpu::wait_for`].
    pub fn wait(&self) -> Result<()> {
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| Error::Device(e.to_string()))?;
        self.check()
    }
}
