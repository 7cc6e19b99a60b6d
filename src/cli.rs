//! The frame of the programs' `main`: error message, exit code, and a quiet Vulkan loader.

use crate::Result;
use std::process::ExitCode;

/// Runs a program. Prints its error as one message and returns exit code 1.
pub fn main(run: impl FnOnce() -> Result<()>) -> ExitCode {
    #[cfg(target_os = "linux")]
    disable_device_select();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Disables Mesa's Vulkan layer device-select where no display server can be.
///
/// The layer connects to the Wayland display. Without `XDG_RUNTIME_DIR`, as in a container, it prints
/// "error: XDG_RUNTIME_DIR is invalid" on every start. It only sorts the adapters, and this crate
/// sorts them itself. wgpu cannot leave out a layer, so the layer's own variable must be set.
#[cfg(target_os = "linux")]
fn disable_device_select() {
    use std::path::Path;
    const DISABLE: &str = "NODEVICE_SELECT";
    let display = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).is_absolute());
    if display || std::env::var_os(DISABLE).is_some() {
        return;
    }
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if threads.is_ok_and(|threads| threads == 1) {
        // SAFETY: this is the only thread, so no other can read the environment at the same time.
        unsafe { std::env::set_var(DISABLE, "1") };
    }
}
