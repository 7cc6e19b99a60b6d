//! Common parts of the programs: the options of model and device, error message, exit code,
//! progress bar, and a Vulkan loader without spurious errors.

mod model;

pub use model::{DEFAULT_MODEL, ModelOptions, parse};

use crate::data::LoadOptions;
use crate::gpu::Context;
use crate::output::{interrupt, progress};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit code of a program that Ctrl-C stopped: 128 and the number of the signal.
const STOPPED: u8 = 130;

/// The options that choose the device and its kernels.
#[derive(Args)]
pub struct DeviceOptions {
    /// GPU adapter: its number, or a part of its name [default: the fastest]
    #[arg(long)]
    pub adapter: Option<String>,
    /// Which kernels to use where there are several: the fastest, measured at the first use and kept in the user's cache folder, or the default ones
    #[arg(long, value_enum, default_value_t = Kernels::Measured)]
    pub kernels: Kernels,
}

/// How forms of kernels are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    /// By measurement.
    Measured,
    /// The defaults.
    Default,
}

impl DeviceOptions {
    /// Opens the device.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open(&self) -> Result<Context> {
        let ctx = Context::open(self.adapter.as_deref())?;
        if self.kernels == Kernels::Measured {
            let folder = LoadOptions::user_cache().map(|folder| folder.join("kernels"));
            ctx.gpu.measure_kernels(folder.as_deref());
        }
        Ok(ctx)
    }
}

/// Runs a program. Prints its error as one message and returns exit code 1. A program that was
/// interrupted has said so itself, and returns exit code 130.
pub fn main(run: impl FnOnce() -> Result<()>) -> ExitCode {
    disable_device_select();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(STOPPED),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How a user starts a program of this crate in the current folder: with cargo in the repository,
/// otherwise by its name.
pub fn start_of(program: &str) -> String {
    let repository = std::fs::read_to_string("Cargo.toml").is_ok_and(|text| text.contains("name = \"degrain\""));
    if repository { format!("cargo run --release --bin {program} --") } else { program.to_owned() }
}

/// A flag that Ctrl-C or a termination signal sets. `message` says what happens then, in less than
/// 80 characters. The second signal ends the process, unless it follows the first within half a
/// second.
///
/// # Errors
/// [`Error::Config`] if the system does not allow a handler.
pub fn on_interrupt(message: &'static str) -> Result<Arc<AtomicBool>> {
    interrupt::on_interrupt(message)
}

/// A progress bar on stderr.
pub struct Progress(progress::ProgressBar);

impl Progress {
    const PARTS: f64 = 1000.0;

    /// Shows an empty bar.
    #[allow(clippy::new_without_default)] // it draws
    pub fn new() -> Progress {
        Progress(progress::progress_bar(Progress::PARTS as u64, "{bar:30} {percent} %  {eta_precise} left"))
    }

    /// Shows the finished share, 0 to 1.
    pub fn set(&self, done: f64) -> Result<()> {
        self.0.set_position((done * Progress::PARTS) as u64);
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Disables Mesa's Vulkan layer device-select if there cannot be a display server. [`main`] does it;
/// other programs call it first, before they start threads.
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
