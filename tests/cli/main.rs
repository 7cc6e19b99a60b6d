//! Tests of the programs as a user calls them: options, messages, files.

#[path = "../common/mod.rs"]
mod common;

mod errors; // wrong options and damaged files
mod evaluation; // `evaluate` from checkpoint to page
mod model_errors; // presets, samplers and options that do not fit
