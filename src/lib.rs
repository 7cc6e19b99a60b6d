//! Diffusion models trained and sampled by handwritten WGSL compute kernels, on any GPU that wgpu reaches.
//!
//! A model is recorded once as a flat list of kernel calls ([`tape::Tape`]), differentiated by appending to the same list, compiled for a
//! device with its memory planned ([`tape::Program`]), and replayed every step. `examples/library.rs` does all of it in eighty lines.
//!
//! The modules stand on floors, and import from lower floors only (`tests/floors` reads the sources and fails on an arrow that goes up):
//!
//! | floor | modules | what they do |
//! |---|---|---|
//! | 7 | `src/bin` | the command lines `train`, `sample`, `evaluate`, `edit` and `ablation` |
//! | 6 | [`evaluate`] | what a trained model is worth: numbers, table and page |
//! | 5 | [`train`] | settings, presets, the training loop, checkpoints, what a run writes |
//! | 5 | [`report`] | grids, strips, plots, archives and event files, from bytes and numbers |
//! | 4 | [`metrics`] | distances of distributions, counts of classes, likelihoods, nearest neighbours |
//! | 3 | [`diffusion`] | noise schedules, predictions, samplers, guidance: small f64 tables; the generator that draws samples |
//! | 2 | [`nn`] | named parameters, layers, the U-Net of diffusers |
//! | 1 | [`ops`] | the operators: a shader, a Rust file, and an f64 reference each |
//! | 0 | [`tape`] | record, differentiate, plan memory, replay, list, profile, verify |
//! | 0 | [`gpu`] | device, buffers, pipelines, time stamps: the only folder that names wgpu |
//! | 0 | [`data`] | data sets as checked bytes |
//! | 0 | [`error`], [`files`] | the one error type; files written whole or not at all |
//!
//! Two kinds of error are kept apart. What the world does (no adapter, a lost device, a damaged file) is an [`Error`]; what the programmer
//! does (shapes that do not fit) is a panic at the caller's line.
#![warn(missing_docs)]

pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod diffusion;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod gpu;
pub mod metrics;
pub mod nn;
pub mod ops;
pub mod output;
pub mod rng;
pub mod tape;
pub mod train;

pub use error::{Error, Result};

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
