//! Training: settings and presets, the loop, checkpoints, and what a run writes.

pub mod checkpoint;
mod journal;
mod manifest;
mod pictures;
mod presets;
mod programs;
mod rates;
mod run;
mod session;
mod settings;

pub use manifest::read_config;
pub use programs::{AVERAGE, Job};
pub use rates::step;
pub use run::{Outcome, Start, run};
pub use session::{Session, refuse_to_overwrite};
pub use settings::{Config, Decay, Settings, Size};
