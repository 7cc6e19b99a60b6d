//! degrain trains and samples small diffusion models with hand-written WGSL compute kernels, on any
//! GPU that wgpu supports.
//!
//! # A first program
//!
//! A computation is *recorded* as a flat list of kernel calls, *differentiated* by appending the
//! gradient kernels to the same list, *compiled* for a device, and *replayed* once per step.
//! This program trains one 3x3 convolution to blur noise:
//!
//! ```
//! use degrain::gpu::Context;
//! use degrain::nn::layers::Conv;
//! use degrain::nn::{GRADIENTS, Initialization, PARAMETERS, Parameters};
//! use degrain::ops::{Conv2d, Padding, conv2d, fill, mse, randn};
//! use degrain::tape::{Program, Shape, Step, Tape, stream};
//!
//! # fn main() -> degrain::Result<()> {
//! // A model is a list of named tensors, and layers that use them.
//! let mut parameters = Parameters::new();
//! let conv = Conv::same(&mut parameters, "conv", 1, 1);
//!
//! // 1. Record. Nothing runs yet: a `Tensor` is a number, a tape is a list of kernel calls.
//! let mut ctx = Context::open(None)?;
//! let mut tape = Tape::new(ctx.target());
//! let t = &mut tape;
//! let x = randn(t, stream::NOISE, Shape::f32([16, 1, 16, 16])); // [B, C, H, W], new in each step
//! let blur = t.named("blur", Shape::f32([1, 1, 3, 3])); //         a buffer of the context
//! let zero = t.named("zero", Shape::f32([1]));
//! let target = conv2d(t, x, blur, zero, Conv2d { stride: 1, padding: Padding::Same });
//! let weights = parameters.trained(t);
//! let y = conv.forward(t, &weights, x);
//! let loss = mse(t, y, target); //                                 [B]
//! t.keep(loss, "loss"); //                                         readable after a run
//!
//! // 2. Differentiate: appends the gradient kernels. Then plain gradient descent.
//! let dloss = fill(t, 1.0 / 16.0, Shape::f32([16]));
//! t.backward(loss, dloss);
//!
//! // 3. Compile: plans memory, compiles kernels, binds buffers. New buffers are zero.
//! let program = Program::compile(&mut ctx, &tape)?;
//! ctx.write("blur", 0, &[1.0f32 / 9.0; 9])?;
//! let mut w = parameters.initialize(0, Initialization::PyTorch);
//!
//! // 4. Replay: only one small struct changes from step to step.
//! let mut losses = vec![];
//! for index in 0..40 {
//!     ctx.write(PARAMETERS, 0, &w)?;
//!     program.run(&ctx, &Step { index, ..Step::default() })?;
//!     let g: Vec<f32> = ctx.read(GRADIENTS, 0, w.len())?;
//!     w.iter_mut().zip(&g).for_each(|(w, g)| *w -= 0.2 * g);
//!     losses.push(ctx.read::<f32>("loss", 0, 16)?.iter().sum::<f32>() / 16.0);
//! }
//! assert!(losses[39] < 0.01 * losses[0], "{losses:?}");
//! # Ok(())
//! # }
//! ```
//!
//! `examples/library.rs` also runs the optimizer on the device. `examples/train_ddpm.rs` trains a
//! diffusion model from your own data, and `examples/sample.rs` samples one from a checkpoint.
//!
//! # Where to go next
//!
//! A layer imports only lower layers. `tests/it/architecture` reads the sources and checks this.
//!
//! | layer | what it does |
//! |---|---|
//! | `src/bin` | `train`, `sample`, `evaluate`, `edit`, `ablation`: arguments and printing |
//! | [`evaluate`] | evaluates a trained model: numbers, a table and a page |
//! | [`train`] | settings, presets, objectives, the training loop, logs |
//! | [`checkpoint`] | one way to open and write a model: diffusers folders and this crate's |
//! | [`metrics`] | Frechet distance, KID, precision and recall, likelihoods, nearest neighbors |
//! | [`diffusion`] | noise schedules, processes, samplers, guidance; the sample generator |
//! | [`nn`] | named parameters, layers, models |
//! | [`ops`] | the operators: a WGSL shader, a Rust file and an f64 reference each |
//! | [`tape`] | record, differentiate, plan memory, replay; list, profile, verify |
//! | [`gpu`] | device, buffers, pipelines, time stamps: the only module that names wgpu |
//! | [`data`], [`output`] | data sets as checked bytes; PNG files, plots, archives, event files |
//! | [`rng`], [`files`], [`memory`], [`ranks`], [`error`] | counter-based random numbers; atomic files; available memory; data between processes; the error type |
//!
//! # Errors and panics
//!
//! Errors that a file, a disk, a driver or a user causes are an [`Error`]. Its message says what to
//! do. Mistakes of the programmer, such as shapes that do not fit, panic at the caller's line.
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
pub mod memory;
pub mod metrics;
pub mod nn;
pub mod ops;
pub mod output;
pub mod ranks;
pub mod rng;
pub mod tape;
pub mod train;

pub use error::{Error, Result};

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
