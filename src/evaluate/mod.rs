//! Evaluation of trained models: what is measured, as numbers, as a table and as a page.
//!
//! Floor 6: brings together the metrics, the samplers and, for one of the numbers, training.

mod baselines;
mod cas;
mod comparison;
mod cost;
pub mod evaluation;
mod feature_cache;
pub mod html;
mod likelihoods;
mod memorization;
mod options;
mod progress;
mod quality;
mod run;
mod sample_cache;
mod samples;
mod table;
mod target;
mod write;

pub use comparison::comparison;
pub use evaluation::Evaluation;
pub use options::{Options, SweepSpec};
pub use run::{Measured, measure};
pub use table::table;
pub use target::{EvalTarget, Source};
pub use write::write;
