//! Evaluation of trained models: metrics as numbers in JSON, as a table, and as an HTML page.
//!
//! It uses the metrics, the samplers and, for the classification accuracy score, the training.

mod baselines;
mod cas;
mod comparison;
mod context;
mod cost;
mod effect;
pub mod evaluation;
mod feature_cache;
#[cfg(feature = "cli")]
pub mod html;
mod latents;
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
pub use options::EvalOptions;
pub use run::{EvaluationOutput, run};
pub use samples::Samples;
pub use table::table;
pub use target::{EvalTarget, ImageSource};
pub use write::{check_outputs, write};
