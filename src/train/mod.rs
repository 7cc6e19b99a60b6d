//! Training: settings and presets, the loop, checkpoints, and what a run writes.

pub mod checkpoint;
mod choices;
mod curves;
mod data_loader;
mod evaluation;
mod log_entry;
mod manifest;
mod networks;
mod objective;
mod objectives;
mod pictures;
mod presets;
mod programs;
mod rules;
mod run;
mod run_log;
mod session;
mod settings;
mod step_uniforms;
mod stopping;

pub use choices::{LrSchedule, NetworkName, RandomFlip, Size, Storage};
pub use data_loader::DataLoader;
pub use log_entry::LogEntry;
pub use manifest::read_config;
pub use objective::Objective;
pub use programs::{EMA, Job};
pub use run::{Outcome, Start, run};
pub use session::{Session, refuse_to_overwrite};
pub use settings::{Config, Settings};
pub use step_uniforms::step;
pub use stopping::on_interrupt;
