//! Common parts of the programs: the options of model and device, error message, exit code,
//! progress bar, and a Vulkan loader without spurious errors.

mod device;
mod model;
mod program;
mod ranks;

pub use device::{DeviceOptions, Kernels};
pub use model::{DEFAULT_MODEL, ModelOptions, parse};
pub use program::{disable_device_select, main};
pub use ranks::main_on_ranks;

use crate::Result;
use crate::output::{interrupt, progress};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
/// [`Error::Config`](crate::Error::Config) if the system does not allow a handler.
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
