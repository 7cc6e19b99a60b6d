//! The frame of a program: its error message, its exit code, and a Vulkan loader without spurious
//! errors.

use crate::output::note;
use crate::{Error, Result};
use std::process::ExitCode;

/// Exit code of a program that Ctrl-C stopped: 128 and the number of the signal.
pub(super) const STOPPED: u8 = 130;

/// Runs a program. Prints its error as one message and returns exit code 1. A program that was
/// interrupted has said so itself, and returns exit code 130.
pub fn main(run: impl FnOnce() -> Result<()>) -> ExitCode {
    disable_device_select();
    match refuse_unconnected().and_then(|()| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(STOPPED),
        Err(error) => {
            note(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Refuses to be one of several processes of a job that know nothing of each other: they would
/// write the same files.
fn refuse_unconnected() -> Result<()> {
    // Of Open MPI, of MPICH and what is derived from it, and of Slurm.
    for (launcher, name) in
        [("mpirun", "OMPI_COMM_WORLD_SIZE"), ("mpirun", "PMI_SIZE"), ("srun", "SLURM_STEP_NUM_TASKS")]
    {
        let size = std::env::var(name).ok().and_then(|size| size.parse::<usize>().ok());
        if let Some(size) = size.filter(|&size| size > 1) {
            let advice = if cfg!(feature = "mpi") {
                "Start train, sample and evaluate with the launcher of the MPI that they were built with (srun --mpi=pmix), \
                 and other programs alone"
            } else {
                "Build train, sample and evaluate with `cargo build --release --features mpi`, and start other programs alone"
            };
            return Err(Error::Config(format!("{launcher} started {size} processes that are not connected. {advice}")));
        }
    }
    Ok(())
}

/// Disables Mesa's Vulkan layer device-select if there cannot be a display server. [`main`] does
/// it; other programs call it first, before they start threads.
///
/// The layer connects to the Wayland display. Without `XDG_RUNTIME_DIR`, as in a container, it
/// prints "error: XDG_RUNTIME_DIR is invalid" on every start. It only sorts the adapters, and this
/// crate sorts them itself. wgpu cannot disable a layer, so the layer's environment variable must
/// be set.
pub fn disable_device_select() {
    use std::path::Path;
    if !cfg!(target_os = "linux") {
        return;
    }
    const DISABLE: &str = "NODEVICE_SELECT";
    let display = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).is_absolute());
    if display || std::env::var_os(DISABLE).is_some() {
        return;
    }
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if threads.is_ok_and(|threads| threads == 1) {
        // SAFETY: this is the only thread, so no other thread can read the environment at the same
        // time.
        unsafe { std::env::set_var(DISABLE, "1") };
    }
}
