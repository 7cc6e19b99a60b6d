//! What a person looks at: pictures of samples, animations, curves, and the files that other tools read.
//!
//! Floor 4, host only: takes bytes and numbers, never a device, a tensor or a model.

pub mod apng;
pub mod events;
pub mod grid;
pub mod jsonl;
mod legend;
pub mod npz;
pub mod picture;
pub mod plot;
pub mod strip;
mod ticks;

pub use events::EventWriter;
pub use grid::{Layout, stack};
pub use jsonl::JsonLines;
pub use picture::{Images, Picture};
pub use plot::Plot;
