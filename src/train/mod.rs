//! Training: settings and presets, objectives, the training loop, checkpoints and logs.
//!
//! [`Trainer`] runs a training from its [`Settings`] and reports [`LogEntry`] values. [`Objective`]
//! is the trait of a model with its loss.

mod buffers;
mod clock;
mod config;
mod continuation;
#[cfg(feature = "cli")]
mod curves;
mod data_loader;
mod default_size;
mod device_log;
mod divided;
mod due;
mod effect;
mod follow;
mod fork;
mod hold_out;
mod initial_model;
mod initial_settings;
mod inspect;
mod latents;
mod load_images;
mod log_entry;
mod manifest;
mod networks;
mod objective;
mod objectives;
mod origin;
pub mod presets;
mod ranks;
mod run;
mod run_log;
mod run_name;
mod sample_grids;
mod settings_file;
mod step_tapes;
mod step_uniforms;
#[cfg(feature = "cli")]
mod stopping;
mod trainer;
mod training_cost;
mod training_state;
mod validation;

pub use buffers::EMA;
pub use config::{Config, LrSchedule, NetworkName, RandomFlip, Settings, Size, Storage};
pub use continuation::ResumePath;
pub use default_size::DefaultSize;
pub use initial_model::InitialModel;
pub use inspect::Inspection;
pub use log_entry::{LogEntry, Metric};
pub use objective::{
    Batch, BitsPerDim, Generative, LikelihoodRequest, Loss, Objective, SampleRequest, Tables, ValidationMetric,
};
pub use origin::{Origin, Taken};
pub use run::Outcome;
#[cfg(feature = "cli")]
pub use stopping::on_interrupt;
pub use trainer::Trainer;
pub use training_cost::TrainingCost;
