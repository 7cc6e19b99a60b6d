//! Training: settings and presets, the loop, checkpoints, and what a run writes.

pub mod checkpoint;
mod choices;
mod curves;
mod evaluation;
mod feed;
mod journal;
mod line;
mod manifest;
mod networks;
mod objective;
mod objectives;
mod pictures;
mod presets;
mod programs;
mod rates;
mod rules;
mod run;
mod session;
mod settings;
mod stopping;

pub use choices::{Decay, Mirror, NetworkName, Size, Storage};
pub use feed::Feed;
pub use line::Line;
pub use manifest::read_config;
pub use objective::Objective;
pub use programs::{AVERAGE, Job};
pub use rates::step;
pub use run::{Outcome, Start, run};
pub use session::{Session, refuse_to_overwrite};
pub use settings::{Config, Settings};
pub use stopping::on_interrupt;
