//! Evaluation of trained models: what is measured, as numbers, as a table and as a page.
//!
//! Floor 6: brings together the metrics, the samplers and, for one of the numbers, training.

pub mod evaluation;
pub mod page;
