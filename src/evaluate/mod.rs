//! Evaluation of trained models: what is measured, as numbers, as a table and as a page.
//!
//! Floor 6: brings together the metrics, the samplers and, for one of the numbers, training.

mod artist;
mod baselines;
mod cache;
mod comparison;
mod cost;
pub mod evaluation;
mod kept;
mod likelihoods;
mod measure;
mod memorise;
mod options;
pub mod page;
mod progress;
mod quality;
mod score;
mod subject;
mod table;
mod write;

pub use comparison::comparison;
pub use evaluation::Evaluation;
pub use measure::{Measured, measure};
pub use options::{Options, SweepWay};
pub use subject::{Examined, Source};
pub use table::table;
pub use write::write;
