//! Output for people: pictures of samples, animations, curves, and the files that other tools
//! read.
//!
//! Floor 4, host only: takes bytes and numbers, never a device, a tensor or a model.

pub mod apng;
pub mod grid;
pub mod images;
pub mod jsonl;
mod legend;
pub mod npz;
pub mod plot;
pub mod strip;
pub mod tensorboard;
mod ticks;

pub use grid::{Layout, stack};
pub use images::{Images, Picture};
pub use jsonl::JsonLines;
pub use plot::Plot;
pub use tensorboard::EventWriter;
