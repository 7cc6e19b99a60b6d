//! Failures of the device, made on purpose. A test switches one on for its thread, to see that
//! every failure is reported and that no good file is lost. They are off otherwise: no option and
//! no environment variable reaches them.
//!
//! All submissions, allocations and waits of this module go through these functions.

use std::cell::Cell;

/// A failure of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceFault {
    /// The device is lost in the submission with this number, counted from 0. The next submission
    /// or wait reports it.
    Lost(u64),
    /// There is no memory for the allocation with this number, counted from 0.
    OutOfMemory(u64),
    /// The submission with this number, counted from 0, does not run, and nothing says so. Metal
    /// does this with a command buffer that the system has stopped.
    Dropped(u64),
}

/// What a thread has asked its devices for since [`inject`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceUse {
    /// Submissions, including those of reads.
    pub submissions: u64,
    /// Buffers.
    pub allocations: u64,
}

/// Calls per submission: few enough that a step of a small network has several.
const CALLS: usize = 40;

thread_local! {
    static FAULT: Cell<Option<DeviceFault>> = const { Cell::new(None) };
    static USE: Cell<DeviceUse> = const { Cell::new(DeviceUse { submissions: 0, allocations: 0 }) };
}

/// Switches a failure of this thread's devices on, or off. Devices that are opened while it is on
/// split programs in the same way in each run, so that submissions keep their numbers.
pub fn inject(fault: Option<DeviceFault>) {
    FAULT.set(fault);
    USE.set(DeviceUse::default());
}

/// What this thread has asked its devices for since [`inject`]. It is counted while a failure is
/// on.
pub fn device_use() -> DeviceUse {
    USE.get()
}

/// Calls per submission, if they must not depend on the speed of the device.
pub(super) fn fixed_calls() -> Option<usize> {
    FAULT.get().map(|_| CALLS)
}

/// Submits the commands of an encoder, after the writes before it.
pub(super) fn submit(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    encoder: wgpu::CommandEncoder,
) -> wgpu::SubmissionIndex {
    if let Some(fault) = FAULT.get() {
        let number = USE.get().submissions;
        USE.set(DeviceUse { submissions: number + 1, ..USE.get() });
        match fault {
            DeviceFault::Lost(n) | DeviceFault::Dropped(n) if n == number => return queue.submit([]),
            DeviceFault::Lost(n) if n < number => lose(device),
            _ => {}
        }
    }
    queue.submit([encoder.finish()])
}

/// Whether the next allocation fails.
pub(super) fn refuses_allocation() -> bool {
    let Some(fault) = FAULT.get() else { return false };
    let number = USE.get().allocations;
    USE.set(DeviceUse { allocations: number + 1, ..USE.get() });
    fault == DeviceFault::OutOfMemory(number)
}

/// [`wgpu::Device::poll`].
///
/// # Panics
/// If the device is lost. wgpu panics if the driver reports the loss to a wait, but not for a
/// device that was destroyed.
pub(super) fn poll(device: &wgpu::Device, wait: wgpu::PollType) -> Result<wgpu::PollStatus, wgpu::PollError> {
    if matches!(FAULT.get(), Some(DeviceFault::Lost(n)) if n < USE.get().submissions) {
        lose(device);
        panic!("Error in Device::poll: the device was lost on purpose");
    }
    device.poll(wait)
}

/// Makes the device invalid and calls the callback of its loss.
fn lose(device: &wgpu::Device) {
    device.destroy();
    // A poll without an error calls the callback; one with an error comes from a device whose
    // callback was called before.
    let _ = device.poll(wgpu::PollType::wait_indefinitely());
}
