//! Tests of the programs as a user calls them: options, messages, files.

#[path = "../common/mod.rs"]
mod common;
mod harness;
#[path = "../common/programs.rs"]
mod programs;

mod ablation; // settings of the four runs
mod bad_data; // more than sixty kinds of bad data
mod checkpoints; // the same sampler in all programs, and the files of a checkpoint
mod default_model; // the model without `--checkpoint`
mod edit; // images and masks that do not fit
mod edit_denoise; // images that are noised and denoised again
mod environment; // wrong command lines, full disks, no adapter, closed pipes
mod evaluation; // `evaluate` from checkpoint to page
mod evaluation_refusals; // inputs that `evaluate` refuses
mod foreign; // checkpoints that were not written by degrain
mod foreign_evaluation; // `evaluate` on such checkpoints
mod sample; // damaged checkpoints, samplers, classifiers
mod sample_resume; // images that an interrupted `sample` keeps
mod sizes; // images, batches and models that are too large
mod train; // data sets, settings, run folders
mod user_files; // files that must not be removed, mixed up or lost
