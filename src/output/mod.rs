//! Output for people: pictures of samples, animations, curves, and the files that other tools
//! read.
//!
//! Host only: this layer takes bytes and numbers, and does not know devices, tensors or models.

pub mod apng;
mod class_grid;
pub mod grid;
pub mod images;
#[cfg(feature = "cli")]
pub(crate) mod interrupt;
pub mod jsonl;
#[cfg(feature = "cli")]
mod legend;
pub mod npz;
#[cfg(feature = "cli")]
pub mod plot;
mod plural;
pub(crate) mod progress;
mod read_png;
mod shortest;
pub mod strip;
pub mod tensorboard;
#[cfg(feature = "cli")]
mod ticks;

pub use class_grid::ClassGrid;
pub use grid::{Layout, stack};
pub use images::{Images, Picture};
pub use jsonl::JsonLines;
#[cfg(feature = "cli")]
pub use plot::Plot;
pub use plural::counted;
pub use progress::note;
pub use shortest::shortest;
pub use tensorboard::EventWriter;
